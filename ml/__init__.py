"""From a folder of photos to a tracked, gated bundle; one module per step."""
