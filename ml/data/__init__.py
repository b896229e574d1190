"""Scan, split, download and draw data sets."""
