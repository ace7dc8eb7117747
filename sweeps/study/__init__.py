"""The study: every decision of a sweep, kept in Optuna's storage as it is taken."""
