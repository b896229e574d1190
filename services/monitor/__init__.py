"""The post-deploy check: send images to the running service and record the result in MLflow."""
