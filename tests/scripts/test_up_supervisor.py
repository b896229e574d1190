"""Servers are restarted when they end, and leave their port to another one that has it."""

import asyncio
import sys

from scripts.up.programs import Program
from scripts.up.supervisor import get, keep_running, running
from tests import servers

SERVER = """
import sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""


def test_server_waits_while_another_one_has_its_port(tmp_path, capsys):
    """As MLflow does when a training starts while ``make up`` still starts its own."""
    port = servers.free_port()
    command = [sys.executable, "-c", SERVER, str(port)]
    other, own = (Program(name, command, folder=tmp_path, port=port, health="/") for name in ("other", "own"))

    async def until(condition) -> None:
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)

    async def start_both() -> None:
        async with running(other, tmp_path / "other.log"):
            await until(lambda: get(other.address))
            keeping = asyncio.create_task(keep_running(own, tmp_path))
            await own.up.wait()
            await until(lambda: "Another own runs at" in capsys.readouterr().out)
            first = own.process
        await until(lambda: own.process is not first and get(own.address))
        assert first.returncode and own.process.returncode is None and not keeping.done()
        keeping.cancel()
        await asyncio.wait([keeping])

    asyncio.run(asyncio.wait_for(start_both(), 60))
