"""Is anybody there? Ports and addresses on this machine."""

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Container, Sequence

from scripts.up.services import Service

# Without the environment's proxies: they cannot reach this machine's own addresses.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, seconds: float = 2) -> tuple[int, bytes] | None:
    """Ask for a page: its status and body, or None if nobody answers."""
    try:
        with _opener.open(url, timeout=seconds) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, ValueError):
        return None


def answers(service: Service) -> bool:
    """Whether the service is up."""
    page = get(service.address + service.health)
    return page is not None and page[0] == 200


def taken(services: Sequence[Service]) -> list[str]:
    """A sentence for every port that another program listens on already."""
    wanted = {service.port for service in services}
    return [
        f"Port {service.port}, which {service.name} needs, is taken by another program. Stop that one "
        f"(is a make up or make train still running?), or choose another port: "
        f"{service.port_setting}={_next(service.port, wanted)}."
        for service in services
        if _listened_on(service.port)
    ]


def _next(port: int, wanted: Container[int]) -> int:
    # The same every time, because people write it down; a port that the system gives changes.
    above = (other for other in range(port + 1, 2**16) if other not in wanted and not _listened_on(other))
    return next(above, None) or free(1)[0]


def _listened_on(port: int) -> bool:
    # To connect, not to bind: macOS lets one bind to 127.0.0.1 what AirPlay has on all addresses.
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def free(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, no two the same."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
