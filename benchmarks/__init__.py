"""Benchmarks of the service: ``make bench`` and the load generator. ``studies`` holds one-off measurements."""
