"""Run the service, MLflow, the monitor and Prometheus on this machine."""
