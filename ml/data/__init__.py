"""Scan, download and draw data sets."""
