"""The prediction service: photos in over HTTP, labels out."""
