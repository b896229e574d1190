"""Run ``python -m scripts.up`` on free ports, with a state folder of its own."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests import servers


class Launched:
    """A launcher that runs, and its output."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, env: dict[str, str]) -> None:
        self.process, self.output, self.env = process, output, env
        self.service, self.mlflow = (f"http://127.0.0.1:{env[name]}" for name in ("PORT", "MLFLOW_PORT"))

    @property
    def printed(self) -> str:
        return self.output.read_text()

    def wait_for(self, text: str, seconds: float = 200) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.printed:
            ended = self.process.poll() is not None
            assert not ended or text in self.printed, f"ended before it printed {text!r}:\n{self.printed}"
            assert time.monotonic() < deadline, f"did not print {text!r}:\n{self.printed}"
            time.sleep(0.1)

    def wait(self) -> int:
        return self.process.wait(200)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.wait()

    def left(self) -> list[str]:
        """Commands of processes that have inherited the settings."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("STATE_DIR") == self.env["STATE_DIR"]:
                    found.append(" ".join(process.cmdline()))
        return found


@contextlib.contextmanager
def launched(folder: Path, *arguments: str, **settings: object) -> Iterator[Launched]:
    """Run the launcher until the block ends; ``settings`` replace and add environment variables."""
    ports = dict(zip(("PORT", "MLFLOW_PORT", "PROMETHEUS_PORT"), servers.free_ports(3), strict=True))
    own = {"STATE_DIR": folder / "state", "MODEL_DIR": folder / "bundle", "WORKERS": 1}
    env = {name: str(value) for name, value in {**ports, **own, **settings}.items()}
    output = folder / "launcher.out"
    with servers.running([sys.executable, "-m", "scripts.up", *arguments], output, env) as process:
        yield Launched(process, output, env)
