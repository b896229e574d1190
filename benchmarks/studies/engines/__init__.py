"""Study of inference engines: the same pixels and the same model, without a server."""
