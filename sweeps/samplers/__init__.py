"""What proposes and what prunes: Optuna's samplers and pruners, and ours beside them."""
