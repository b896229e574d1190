"""Record what the service does: metrics and logs."""
