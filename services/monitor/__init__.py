"""The post-deploy check: asks the running service about pictures and records the result in MLflow."""
