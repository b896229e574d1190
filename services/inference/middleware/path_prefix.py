"""Serve the routes below a path prefix, whether the proxy strips it or not."""

from collections.abc import Callable
from typing import Any

from services.inference.settings import PREFIX


class PathPrefix:
    """WSGI middleware that takes the prefix from a trusted proxy (as SCRIPT_NAME), or else from the settings."""

    def __init__(self, wsgi_app: Callable[..., Any], default: str) -> None:
        self._app, self._default = wsgi_app, default

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Handle a request without the prefix in its path."""
        given = environ.get("SCRIPT_NAME", "").rstrip("/")
        prefix = given if PREFIX.fullmatch(given) else self._default
        environ["SCRIPT_NAME"] = prefix
        if f"{environ['PATH_INFO']}/".startswith(f"{prefix}/"):
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(prefix) or "/"
        return self._app(environ, start_response)
