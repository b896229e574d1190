"""Bypass the proxies in the environment for this machine, and name the one on the way to an address."""

import os
from urllib.request import getproxies_environment

from requests.utils import get_environ_proxies, select_proxy

from services.monitor.settings import mask_credentials

LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0")  # noqa: S104


def bypass_for_loopback() -> None:
    """Exempt this machine from the proxies in the environment: a company's proxy cannot reach it."""
    # On macOS a NO_PROXY alone would switch the system's proxies off.
    if not getproxies_environment():
        return
    exempt = [value for name in ("no_proxy", "NO_PROXY") if (value := os.environ.get(name))]
    if "*" not in exempt:
        names = dict.fromkeys([*",".join(exempt).split(","), *LOOPBACK])
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, names))


def through(address: str) -> str:
    """Return a phrase that names the proxy on the way to an address; empty for a direct way."""
    proxy = select_proxy(address, get_environ_proxies(address))
    return f" through the proxy {mask_credentials(proxy)} (NO_PROXY makes exceptions)" if proxy else ""
