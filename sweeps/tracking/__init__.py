"""What is written to MLflow, by one writer, and the journal that keeps it until it is there."""
