"""Start programs, wait until they answer, restart them and end them."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import requests

from scripts.up.programs import Program

TICK = 0.1
START_LIMIT = 180
STOP_LIMIT = 10
SHORT_LIFE = 10  # a server that ends sooner would end again: a setting or a file is wrong


class FailedError(Exception):
    """A program cannot run; the message says why."""


def say(text: str) -> None:
    """Print, even if the terminal is closed."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def get(url: str) -> requests.Response | None:
    """Request a page; None if nothing answers."""
    try:
        return requests.get(url, timeout=2)
    except requests.RequestException:
        return None


def tail(log: Path) -> str:
    """Return the last lines of a log, indented."""
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-15:])


def on_signals(act: Callable[[int], object]) -> None:
    """Act on the signals that ask to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            asyncio.get_running_loop().add_signal_handler(number, act, number)


def require_free_ports(servers: list[Program]) -> None:
    """Raise a FailedError that names a port which is taken, and its setting."""
    ports = [server.port for server in servers]
    for server in servers:
        if ports.count(server.port) > 1 or is_taken(server):
            raise FailedError(
                f"Port {server.port}, which {server.name} needs, is taken. Stop the program that listens there "
                f"(another make up?), or choose another port: {server.port_setting}={max(ports) + 1}."
            )


def is_taken(server: Program) -> bool:
    """Return whether another program listens where a server will listen."""
    with contextlib.suppress(OSError), socket.create_connection((server.near_host, server.port), 2):
        return True
    # macOS lets one bind to 127.0.0.1 a port that AirPlay has on all addresses; only the connection above finds it.
    family, kind, _, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier server may linger
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


@contextlib.asynccontextmanager
async def running(program: Program, log: Path | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, with its output in a log or on the terminal, and end it with everything that it started."""
    env = os.environ | {"PYTHONUNBUFFERED": "1"} | program.environment
    with log.open("ab") if log else contextlib.nullcontext() as out:
        # In a session of its own, which Ctrl-C in the terminal does not reach.
        program.process = process = await asyncio.create_subprocess_exec(
            *program.command, stdout=out, stderr=out, cwd=program.folder, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            process.terminate()
            await asyncio.wait_for(process.wait(), STOP_LIMIT)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def keep_running(server: Program, logs: Path) -> None:
    """Run a server, and restart it when it ends.

    Raises:
        FailedError: It ended soon after its start, or does not answer.
    """
    log, begin = logs / f"{server.name}.log", time.monotonic()
    log.write_bytes(b"")
    while True:
        async with running(server, log) as process:
            while process.returncode is None and not await asyncio.to_thread(get, server.address + server.health):
                if time.monotonic() - begin > START_LIMIT:
                    raise FailedError(f"{server.name} does not answer after {START_LIMIT} s; see {log}:\n{tail(log)}")
                await asyncio.sleep(TICK)
            if process.returncode is None:
                say(f"  {server.name:<10} is up after {time.monotonic() - begin:4.1f} s: {server.address}")
                server.up.set()
            code = await process.wait()
        # As when `make train` and `make up` start at the same time: the second MLflow finds its port taken.
        if await asyncio.to_thread(get, server.address + server.health):
            say(f"Another {server.name} runs at {server.address} and is used until it ends.")
            server.up.set()
            while await asyncio.to_thread(get, server.address + server.health):
                await asyncio.sleep(1)
        elif not server.up.is_set() or time.monotonic() - begin < SHORT_LIFE:
            raise FailedError(f"{server.name} ended soon after its start (exit code {code}); see {log}:\n{tail(log)}")
        else:
            say(f"{server.name} ended (exit code {code}) and is started again: {log}")
        begin = time.monotonic()
