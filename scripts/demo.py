"""Run the whole loop on drawn images in a temporary folder, and print a table of the steps."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from bundle.load import load
from ml.data.dataset import Dataset
from ml.data.scan import scan
from ml.tracking.client import connect

# The drawings are small, and the features of small images are computed soon.
SETTINGS = "--size=96"
EXPERIMENT = "post-deploy-monitoring"


class DemoError(Exception):
    """A step failed; the message says which in one sentence."""


class Demo:
    """The steps of the loop, with the files, addresses and numbers that they pass on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.champion = folder, folder / "champion"
        self.rows: list[tuple[str, str, float]] = []
        port, mlflow_port, prometheus_port = free_ports(3)
        self.service, self.mlflow = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{mlflow_port}"
        settings = {"PORT": port, "MLFLOW_PORT": mlflow_port, "PROMETHEUS_PORT": prometheus_port}
        paths = {"MODEL_DIR": self.champion, "STATE_DIR": folder / "state", "SPOOL_DIR": folder / "spool"}
        addresses = {"PREDICT_URL": self.service, "MLFLOW_TRACKING_URI": self.mlflow, "NO_PROXY": "127.0.0.1"}
        # PyTorch leaves caches in the temporary folder of the system.
        os.environ |= {k: str(v) for k, v in {**settings, **paths, **addresses, "TMPDIR": folder}.items()}

    def run(self) -> None:
        """Go round the loop once.

        Raises:
            DemoError: A step failed.
        """
        sample = self.folder / "sample"
        with contextlib.ExitStack() as stack:
            self._step("draw the sample", lambda: self._draw(sample))
            self._step("start everything", lambda: stack.enter_context(self._up()))
            self._step("train, evaluate, export, gate", lambda: self._train(sample))
            self._step("champion in the registry", self._registered)
            self._step("champion in the service", self._served)
            data = scan(sample, progress=False)
            self._step("predict the held-out images", lambda: self._predict(data))
            self._step("run the monitor", lambda: self._monitor(data))
            self._step("read the accuracy back", self._read_back)

    def _step(self, name: str, act: Callable[[], str]) -> None:
        print(f"\n▸ {name}", flush=True)
        begin = time.monotonic()
        result = act()
        self.rows.append((name, result, time.monotonic() - begin))
        print(f"  {result}", flush=True)

    def _draw(self, sample: Path) -> str:
        self._call("ml.data", "sample", "--to", str(sample))
        return f"{len(list(sample.glob('*/*.jpg')))} images"

    @contextlib.contextmanager
    def _up(self) -> Iterator[str]:
        """Run ``make up``, which serves the champion as soon as there is one."""
        log = self.folder / "up.log"
        command = [sys.executable, "-m", "scripts.up"]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, process_group=0)
        try:
            while "Ctrl-C stops everything" not in log.read_text():
                if process.poll() is not None:
                    raise DemoError(f"make up failed (exit code {process.returncode}):\n{log.read_text()}")
                time.sleep(0.1)
            yield f"{self.service}, {self.mlflow}"
        finally:
            process.terminate()
            process.wait()

    def _train(self, sample: Path) -> str:
        paths = {"--data": sample, "--out": self.folder / "run", "--cache": self.folder / "cache"}
        options = [f"{name}={path}" for name, path in {**paths, "--champion": self.champion}.items()]
        self._call("ml.train", SETTINGS, *options)
        metrics = load(self.folder / "run" / "bundle").manifest.metrics
        assert metrics is not None
        self.expected = metrics.accuracy
        return f"{metrics.accuracy:.1%} of {metrics.pictures} held-out images right"

    def _registered(self) -> str:
        manifest = load(self.champion).manifest
        version = connect(self.mlflow).get_model_version_by_alias(manifest.name, "champion")
        if version.tags["model_sha256"] != manifest.model_sha256:
            raise DemoError("The champion in MLflow is not the bundle that was put in place.")
        return f"{manifest.name} {manifest.version}"

    def _served(self) -> str:
        wanted, deadline = load(self.champion).manifest.version, time.monotonic() + 60
        while (ready := requests.get(f"{self.service}/ready", timeout=30).json()).get("model", {}).get(
            "version"
        ) != wanted:
            if time.monotonic() > deadline:
                raise DemoError(f"The service does not serve the champion: {ready}.")
            time.sleep(0.2)
        return "served"

    def _predict(self, data: Dataset) -> str:
        test = data.split("test")
        right = 0
        for image in test:
            with image.path.open("rb") as file:
                response = requests.post(f"{self.service}/predict", files={"file": file}, timeout=30)
            response.raise_for_status()
            right += response.json()["label"] == data.classes[image.label]
        self.accuracy = right / len(test)
        if abs(self.accuracy - self.expected) > 1e-9:
            raise DemoError(f"The service got {right} of {len(test)} right, the evaluation {self.expected:.2%}.")
        return f"{right} of {len(test)} right over HTTP, as evaluated"

    def _monitor(self, data: Dataset) -> str:
        labelled = self.folder / "labelled"
        labelled.mkdir()
        for image in data.split("test"):
            shutil.copy(image.path, labelled / f"{data.classes[image.label]}__{image.path.name}")
        os.environ["LABELLED_IMAGES"] = str(labelled)
        self._call("services.monitor")
        return "healthy"

    def _read_back(self) -> str:
        client = connect(self.mlflow)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        found = [run.data.metrics.get("post_deploy_accuracy") for run in runs]
        accuracies = [value for value in found if value is not None]  # make up runs the monitor too
        if accuracies != [self.accuracy]:
            raise DemoError(f"MLflow holds the accuracies {accuracies}, but {self.accuracy} was measured.")
        return f"post_deploy_accuracy = {accuracies[0]:.4f}"

    def _call(self, module: str, *arguments: str) -> None:
        code = subprocess.run([sys.executable, "-m", module, *arguments]).returncode
        if code:
            raise DemoError(f"{module} failed (exit code {code}); see above.")


def free_ports(count: int) -> list[int]:
    """Return different ports that no program listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def main() -> int:
    """Run the demo; return 0 if every step succeeded."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        demo = Demo(Path(folder))
        try:
            demo.run()
        except DemoError as error:
            print(f"\n{error}")
            return 1
    print()
    for step, result, seconds in [*demo.rows, ("in all", "", sum(row[2] for row in demo.rows))]:
        print(f"  {step:<31}{result:<50}{seconds:6.1f} s")
    print("\nThe loop is closed; everything is stopped and the temporary folder removed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
