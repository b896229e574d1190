"""Predict all images of a folder."""
