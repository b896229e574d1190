"""Evaluate bundles, and find label errors in data sets."""
