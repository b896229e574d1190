"""Load generator: ``python -m benchmarks.load http://127.0.0.1:8000/predict``."""
