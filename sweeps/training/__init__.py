"""One Lightning training inside a worker: it knows neither the study nor MLflow."""
