"""Measure a bundle on labelled images."""
