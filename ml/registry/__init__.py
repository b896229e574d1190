"""Keep models in MLflow's registry, with a gate before promotion."""
