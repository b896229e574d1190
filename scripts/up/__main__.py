"""Command line of ``make up``, ``make mlflow`` and ``make train``."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from pydantic import ValidationError

from ml.tracking.address import MLFLOW_START_LIMIT, without_password
from scripts.up import programs
from scripts.up.programs import Program
from scripts.up.settings import LOCALHOST, Settings, describe
from scripts.up.supervisor import (
    START_LIMIT,
    FailedError,
    get,
    keep_running,
    on_signals,
    require_free_ports,
    running,
    say,
    tail,
)

TRACKING_URI = "MLFLOW_TRACKING_URI"
WRONG_SETTINGS = 2  # exit code of the monitor, and of this command


async def run(settings: Settings, only: bool, command: list[str]) -> int:
    """Run the programs until a signal comes, or MLflow while a command runs; return the exit code."""
    task = asyncio.current_task()
    on_signals(lambda _: task.cancel() if task else None)
    if command and (uri := os.environ.get(TRACKING_URI)):
        say(f"Using MLflow at {without_password(uri)}")
        return await run_command(command, uri)
    mlflow, inference = programs.mlflow(settings), programs.inference(settings)
    if command and (page := get(mlflow.address + mlflow.health)) and page.text == "OK":
        say(f"MLflow runs already: {mlflow.address}")
        return await run_command(command, mlflow.address)
    servers = [mlflow] if only else [mlflow, inference, *programs.prometheus(settings)]
    require_free_ports(servers)
    served, logs = fingerprint(settings.model_dir), settings.state_dir / "logs"
    for folder in (logs, *(server.folder for server in servers)):
        folder.mkdir(parents=True, exist_ok=True)
    say(f"Starting {', '.join(server.name for server in servers)}; logs in {logs}")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keep_running(server, logs)) for server in servers]
        if command:
            # At once, since both take seconds to start; clients of MLflow wait for it.
            code = await run_command(command, mlflow.address, START_LIMIT)
            tasks[0].cancel()
            return code
        for server in servers:
            await server.up.wait()
        if not only:
            if not get(f"{inference.address}/ready"):
                say(f"NO MODEL IS SERVED: {inference.address}/ready says why.")
            group.create_task(check_service(settings, logs / "monitor.log"))
            group.create_task(reload_bundle(settings.model_dir, served, inference))
        say("Ctrl-C stops everything.")
    return 0


async def run_command(command: list[str], uri: str, start_limit: int = 0) -> int:
    """Run a command with an MLflow that may take seconds to start; pass signals on, and return its exit code."""
    environment = {TRACKING_URI: uri, MLFLOW_START_LIMIT: str(start_limit)}
    try:
        async with running(Program("command", command, environment)) as process:
            on_signals(lambda number: os.killpg(process.pid, number) if process.returncode is None else None)
            code = await process.wait()
    except OSError as error:
        say(f"{command[0]} cannot be run ({error.strerror}).")
        return 127
    return code if code >= 0 else 128 - code


async def check_service(settings: Settings, log: Path) -> None:
    """Run the monitor at intervals, and print a result that differs from the last one."""
    log.write_bytes(b"")
    last = None
    while True:
        async with running(programs.monitor(settings), log) as process:
            code = await process.wait()
        if code != last:
            result = "the service is healthy" if code == 0 else f"something is wrong (exit code {code})"
            if code == WRONG_SETTINGS:
                result = f"nothing was checked (exit code {code}): {tail(log).splitlines()[-1].strip()}"
            say(f"monitor: {result}; {log}")
        last = code
        await asyncio.sleep(settings.monitor_interval)


async def reload_bundle(bundle: Path, served: list[object], inference: Program) -> None:
    """Make gunicorn load a bundle that was put in place."""
    while True:
        latest = fingerprint(bundle)
        await asyncio.sleep(1)  # a copy takes a moment
        if latest and latest != served and latest == fingerprint(bundle) and inference.process:
            served = latest
            inference.process.send_signal(signal.SIGHUP)
            say(f"{bundle} has changed: the service loads it.")


def fingerprint(bundle: Path) -> list[object]:
    """Return values that change with the files of a bundle; empty while one is missing."""
    try:
        found = [(bundle / name).stat() for name in ("manifest.json", "model.onnx")]
    except OSError:
        return []
    return [(file.st_ino, file.st_mtime_ns, file.st_size) for file in found]


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.up",
        usage="%(prog)s [-h] [--only mlflow [-- COMMAND …]]",
        description="Start the service, MLflow, the monitor and Prometheus; Ctrl-C ends all of them.",
        epilog=describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=["mlflow"], help="start MLflow alone")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="run a command with MLflow, then end MLflow")
    arguments = parser.parse_args()
    if arguments.command and not arguments.only:
        parser.error("a COMMAND needs --only mlflow before it")
    exempt = [value for name in ("NO_PROXY", "no_proxy") if (value := os.environ.get(name))]
    if "*" not in exempt:  # a company's proxy cannot reach this machine
        own = (LOCALHOST, "localhost", os.environ.get("MLFLOW_HOST") or LOCALHOST)
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join([*exempt, *dict.fromkeys(own)])
    os.chdir(Path(__file__).parents[2])
    try:
        return asyncio.run(run(Settings(), bool(arguments.only), arguments.command))
    except asyncio.CancelledError:
        say("\nEverything is stopped.")
        return 128 + signal.SIGINT if arguments.command else 0
    except ValidationError as error:
        say("\n".join(f"{str(one['loc'][0]).upper()} is {one['input']!r}: {one['msg']}." for one in error.errors()))
        return WRONG_SETTINGS
    except (FailedError, ExceptionGroup) as error:  # a group has the failure of one server
        say(str(error.exceptions[0] if isinstance(error, ExceptionGroup) else error))
    except OSError as error:
        say(f"{error.filename} cannot be used ({error.strerror}): set STATE_DIR to a folder that you may write to.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
