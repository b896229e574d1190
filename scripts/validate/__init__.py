"""Validate the manifests as a cluster would: builds, schemas and policies."""
