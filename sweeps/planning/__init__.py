"""Before the first trial: what can be checked, measured and worked out."""
