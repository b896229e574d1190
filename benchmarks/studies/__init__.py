"""Measurements that answer one question each; ``make bench`` does not run them."""
