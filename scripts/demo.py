"""The whole loop on drawn pictures in a temporary folder, as a table of what happened; the end-to-end test too."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from bundle.load import load
from ml.data.dataset import Dataset
from ml.data.scan import scan
from ml.tracking.tracker import connect
from scripts.up import ports, proxies, services
from scripts.up.settings import ROOT, Settings
from scripts.up.signals import Signals
from scripts.up.supervisor import FailedError, Supervisor, say

# Chosen so that the network learns the sample in about twenty seconds on two cores.
RECIPE = "--architecture=resnet18_slim --size=64 --crop=0.6 --learning-rate=3e-3 --epochs=8 --batch=32"
EXPERIMENT = "post-deploy-monitoring"


class DemoError(Exception):
    """A step did not do what it should; the message is one sentence that says which."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    step: str
    result: str
    seconds: float


class Demo:
    """The steps, each of which hands a file, an address or a number to the next."""

    def __init__(self, folder: Path, supervisor: Supervisor, signals: Signals) -> None:
        """Use ``run``."""
        self.folder, self.supervisor, self.signals = folder, supervisor, signals
        port, mlflow_port, prometheus_port = ports.free(3)
        self.settings = Settings(
            host="127.0.0.1",
            port=port,
            mlflow_port=mlflow_port,
            mlflow_host="127.0.0.1",
            prometheus_port=prometheus_port,
            monitor_interval=300,
            model_dir=folder / "champion",
            state_dir=folder / "state",
        )
        self.rows: list[Row] = []

    def run(self) -> None:
        """Go round the loop once.

        Raises:
            DemoError: A step failed.
            FailedError: A server did not start.
        """
        sample, labelled = self.folder / "sample", self.folder / "labelled"
        self._step("draw the sample", lambda: self._draw(sample))
        self._step("start MLflow", lambda: self._serve(services.mlflow(self.settings)))
        self._step("train, evaluate, export, gate", lambda: self._train(sample))
        self._step("champion in the registry", self._champion)
        self._step("serve with gunicorn", lambda: self._serve(services.inference(self.settings)))
        data = scan(sample, progress=False)
        self._step("predict the held-out pictures", lambda: self._predict(data))
        self._step("run the monitor", lambda: self._monitor(data, labelled))
        self._step("read the accuracy back", self._read_back)

    def _step(self, name: str, act: Callable[[], str]) -> None:
        say(f"\n▸ {name}")
        begin = time.monotonic()
        result = act()
        if self.signals.received:
            raise DemoError(f"Stopped while it was to {name}.")
        self.rows.append(Row(name, result, time.monotonic() - begin))
        say(f"  {result}")

    def _draw(self, sample: Path) -> str:
        self._call("ml.data", "sample", "--to", str(sample))
        return f"{len(list(sample.glob('*/*.jpg')))} pictures"

    def _serve(self, service: services.Service) -> str:
        self.supervisor.start(service)
        self.supervisor.wait_until_up()
        return service.address

    def _train(self, sample: Path) -> str:
        places = ("--out", "run", "--cache", "cache", "--champion", "champion")
        arguments = [value if value.startswith("--") else str(self.folder / value) for value in places]
        self._call("ml.train", "--data", str(sample), *RECIPE.split(), *arguments)
        metrics = load(self.folder / "run" / "bundle").manifest.metrics
        assert metrics is not None
        self.expected = metrics.accuracy
        return f"{metrics.accuracy:.1%} of {metrics.pictures} held-out pictures right"

    def _champion(self) -> str:
        manifest = load(self.settings.model_dir).manifest
        version = connect(self.settings.mlflow_address).get_model_version_by_alias(manifest.name, "champion")
        if version.tags["model_sha256"] != manifest.model_sha256:
            raise DemoError("The champion in MLflow is not the bundle that was put in place.")
        return f"{manifest.name} {manifest.version}"

    def _predict(self, data: Dataset) -> str:
        self.right = 0
        for picture in data.split("test"):
            with picture.path.open("rb") as file:
                answer = requests.post(f"{self.settings.service_address}/predict", files={"file": file}, timeout=30)
            answer.raise_for_status()
            self.right += answer.json()["label"] == data.classes[picture.label]
        self.asked = len(data.split("test"))
        if abs(self.right / self.asked - self.expected) > 1e-9:
            raise DemoError(f"The service got {self.right} of {self.asked} right, the evaluation {self.expected:.2%}.")
        return f"{self.right} of {self.asked} right over HTTP, as evaluated"

    def _monitor(self, data: Dataset, labelled: Path) -> str:
        labelled.mkdir()
        for picture in data.split("test"):
            shutil.copy(picture.path, labelled / f"{data.classes[picture.label]}__{picture.path.name}")
        part = services.monitor(self.settings)
        self._call("services.monitor", environment=part.environment | {"LABELLED_IMAGES": str(labelled)})
        return "healthy"

    def _read_back(self) -> str:
        client = connect(self.settings.mlflow_address)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        accuracies = [run.data.metrics.get("post_deploy_accuracy") for run in runs]
        if accuracies != [self.right / self.asked]:
            raise DemoError(f"MLflow holds the accuracies {accuracies}, but {self.right} of {self.asked} were right.")
        return f"post_deploy_accuracy = {accuracies[0]:.4f}"

    def _call(self, module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", module, *arguments]
        settings = {"MLFLOW_TRACKING_URI": self.settings.mlflow_address} | (environment or {})
        code = subprocess.run(command, cwd=ROOT, env=os.environ | settings).returncode
        if code and not self.signals.received:
            raise DemoError(f"{module} failed (exit code {code}); see above.")


def table(rows: Sequence[Row]) -> str:
    """Lay out what happened, in as wide columns as needed."""
    widths = [max(len(row.step) for row in rows), max(len(row.result) for row in rows)]
    lines = [f"  {row.step:<{widths[0]}}  {row.result:<{widths[1]}}  {row.seconds:5.1f} s" for row in rows]
    total = f"  {'in all':<{widths[0]}}  {'':<{widths[1]}}  {sum(row.seconds for row in rows):5.1f} s"
    return "\n".join([*lines, total])


def main() -> int:
    """Run the demo; 0 if the loop closed."""
    proxies.bypass_for_this_machine()
    signals = Signals()
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        # PyTorch leaves caches in the system's temporary folder; in this one they go with the rest.
        os.environ["TMPDIR"] = folder
        try:
            with Supervisor(Path(folder) / "state" / "logs", signals) as supervisor:
                demo = Demo(Path(folder), supervisor, signals)
                demo.run()
        except (DemoError, FailedError) as error:
            say(f"\n{error}")
            return 1
    say(f"\n{table(demo.rows)}\n\nThe loop is closed; everything is stopped and the temporary folder removed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
