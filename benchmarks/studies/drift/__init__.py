"""Measure how many images the drift rules take to notice a change, and how often they are wrong."""
