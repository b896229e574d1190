"""Who may ask for predictions, how often, and on which port: checked before a body is read, off by default."""

import ipaddress
import math
from collections.abc import Callable
from typing import Any

from flask import Request, g, request
from flask_openapi3.openapi import OpenAPI
from werkzeug.exceptions import NotFound

from services.inference import rate
from services.inference.keys import Keys
from services.inference.problems import TOO_MANY_REQUESTS, UNAUTHORIZED, Problem
from services.inference.schemas import problem
from services.inference.settings import Network, Settings

SCHEME = "Bearer"
INVALID = f'{SCHEME} error="invalid_token"'
# Open: what probes and Prometheus ask, and pages that say no more than this repository does. New routes are not.
OPEN = frozenset(
    (
        *("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json"),
        *("/static/<path:filename>", "/docs/static/<path:filename>"),
    )
)
ON_METRICS_PORT = frozenset(("/health", "/ready", "/metrics"))


def register(app: OpenAPI, settings: Settings) -> None:
    """Add the checks that are set, and say so in /openapi.json; call it after all routes are there."""
    if settings.metrics_port:
        app.before_request(_port_check(str(settings.metrics_port)))
    if settings.api_keys_file or settings.rate_limit:
        app.before_request(_check(settings))
        _document(app.api_doc, settings)


def _check(settings: Settings) -> Callable[[], None]:
    keys = Keys(settings.api_keys_file) if settings.api_keys_file else None

    def check() -> None:
        if request.url_rule is None or request.url_rule.rule in OPEN:
            return
        client = _owner(keys) if keys else address(request, settings.trusted_proxies)
        if settings.rate_limit and (wait := rate.table().take(client, settings.rate_limit)):
            seconds = math.ceil(wait)
            detail = f"More than {settings.rate_limit} from one client. Send the request again in {seconds} s."
            raise Problem(TOO_MANY_REQUESTS, detail, retry_after=seconds)

    return check


def _owner(keys: Keys) -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != SCHEME.lower() or not key.strip():
        raise _unauthorized(f"Send an API key: 'Authorization: {SCHEME} <key>'.", SCHEME)
    owner = keys.owner(key.strip())
    if owner is None:
        raise _unauthorized("This API key is not known here. Ask whoever runs the service for one.", INVALID)
    g.seen["client"] = owner
    return owner


def _unauthorized(detail: str, challenge: str) -> Problem:
    return Problem(UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


def address(request: Request, proxies: tuple[Network, ...]) -> str:
    """The client's address: the last one that no trusted proxy has, of IPv6 the network that one customer gets.

    Args:
        request: The request, from a client or from a proxy.
        proxies: Networks of the proxies whose X-Forwarded-For is believed.
    """
    hops = [*",".join(request.headers.getlist("X-Forwarded-For")).split(","), request.remote_addr or ""]
    found: Any = None
    for hop in reversed(hops):
        try:
            parsed = ipaddress.ip_address(hop.strip())
        except ValueError:
            break  # nobody but a client of the last proxy can have written that
        found = getattr(parsed, "ipv4_mapped", None) or parsed
        if not any(found in network for network in proxies):
            break
    if found is not None and found.version == 6:
        found = ipaddress.ip_network((found, 64), strict=False)
    return str(found)


def _port_check(metrics_port: str) -> Callable[[], None]:
    def check() -> None:
        rule = request.url_rule.rule if request.url_rule else ""
        on_metrics_port = request.environ["SERVER_PORT"] == metrics_port
        if (on_metrics_port and rule not in ON_METRICS_PORT) or (not on_metrics_port and rule == "/metrics"):
            raise NotFound

    return check


def _document(spec: dict[str, Any], settings: Settings) -> None:
    for path, operations in spec["paths"].items():
        if path not in OPEN:
            for operation in operations.values():
                if settings.api_keys_file:
                    operation["security"] = [{"apiKey": []}]
                    operation["responses"]["401"] = problem("No API key, or one that is not known")
                if settings.rate_limit:
                    operation["responses"]["429"] = problem(
                        f"More than {settings.rate_limit} from one client; Retry-After says when to try again"
                    )
    if settings.api_keys_file:
        spec["components"]["securitySchemes"] = {"apiKey": {"type": "http", "scheme": SCHEME.lower()}}
