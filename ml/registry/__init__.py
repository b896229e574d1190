"""Keep models in MLflow's registry and promote them through the gate."""
