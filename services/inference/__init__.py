"""Serve predictions over HTTP."""
