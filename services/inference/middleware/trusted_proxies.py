"""Take the client's address and the path prefix from the headers of trusted proxies."""

import contextlib
import ipaddress
from collections.abc import Callable
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from services.inference.settings import Network


class TrustedProxies:
    """WSGI middleware that takes the client's address and the path prefix from the headers of trusted proxies."""

    def __init__(self, wsgi_app: Callable[..., Any], networks: tuple[Network, ...]) -> None:
        self._app, self._networks = wsgi_app, networks

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Handle a request with the address of the last hop that is not a trusted proxy."""
        hops = [*environ.get("HTTP_X_FORWARDED_FOR", "").split(","), environ.get("REMOTE_ADDR", "")]
        proxies = next((i for i, hop in enumerate(reversed(hops)) if not self._trusts(hop)), 0)
        app = ProxyFix(self._app, x_for=proxies, x_proto=0, x_host=0, x_prefix=1) if proxies else self._app
        return app(environ, start_response)

    def _trusts(self, hop: str) -> bool:
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(hop.strip())
            return any((getattr(address, "ipv4_mapped", None) or address) in network for network in self._networks)
        return False
