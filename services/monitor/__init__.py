"""The post-deploy check: one run asks the live service and logs to MLflow."""
