"""Log training runs to MLflow."""
