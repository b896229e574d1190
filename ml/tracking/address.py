"""Find MLflow's address, and the proxy on the way to an address."""

import os
import re
from urllib.request import getproxies_environment

from requests.utils import get_environ_proxies, select_proxy

# Seconds that a server may take to answer for the first time; set by whoever starts server and training together.
MLFLOW_START_LIMIT = "MLFLOW_START_LIMIT"
DEFAULT_ADDRESS = f"http://127.0.0.1:{os.environ.get('MLFLOW_PORT') or 5000}"
LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0")  # noqa: S104


def bypass_proxy_for_loopback() -> None:
    """Exempt this machine from the proxies in the environment: a company's proxy cannot reach it."""
    # On macOS a NO_PROXY alone would switch the system's proxies off.
    if not getproxies_environment():
        return
    exempt = [value for name in ("no_proxy", "NO_PROXY") if (value := os.environ.get(name))]
    if "*" not in exempt:
        names = dict.fromkeys([*",".join(exempt).split(","), *LOOPBACK])
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, names))


def proxy_of(address: str) -> str | None:
    """Return the proxy that requests to an address go through, without its password; None for a direct way."""
    proxy = select_proxy(address, get_environ_proxies(address))
    return re.sub(r"//[^/]*@", "//***@", proxy) if proxy else None


def without_password(text: str) -> str:
    """Remove user names and passwords from the addresses in a text."""
    return re.sub(r"://[^/\s]*@", "://", text)
