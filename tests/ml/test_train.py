"""The whole command: from a folder of images to a bundle, with everything in a real MLflow."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from bundle.load import load
from bundle.predictor import Predictor
from ml.registry.__main__ import main as registry
from ml.registry.model_registry import CHALLENGER, CHAMPION, bundle_path, fetch
from ml.train import main
from tests import servers
from tests.ml.conftest import COLOURS, draw
from tests.services.monitor.stubs import answer, relay, serving

# Each process imports PyTorch and MLflow and exports a graph, which takes minutes on a busy machine.
SECONDS = 600
pytestmark = pytest.mark.timeout(2 * SECONDS)

SETTINGS = ["--architecture", "resnet18_slim", "--size", "32", "--batch", "16", "--device", "cpu"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]


@pytest.fixture
def options(mlflow_address, cache, tmp_path, monkeypatch):
    """The options that all runs share; each test runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ml.evaluation.out_of_distribution.IMAGES_PER_KIND", 2)
    return [*SETTINGS, "--cache", str(cache), "--tracking-uri", mlflow_address]


def drawn(folder: Path, name: str) -> Path:
    """Draw the colours as a synthetic data set of a given name."""
    draw(folder, COLOURS, 70)
    (folder / "dataset.json").write_text(json.dumps({"name": name, "synthetic": True}))
    return folder


def process(folder: Path, *command: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(servers.ROOT), "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def steps(client: MlflowClient, run_id: str, name: str) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run_id, name)]


@pytest.fixture(scope="module")
def first(tmp_path_factory, mlflow_address):
    """A run of two processes: its folder, output, run in MLflow, and champion afterwards."""
    folder = tmp_path_factory.mktemp("first")
    drawn(folder / "data", "two-colours")
    draw(folder / "photos", COLOURS, 10, seed=1)
    draw(folder, {"greens": (30, 220, 30)}, 5, seed=2)
    arguments = [
        "--data",
        "data",
        "--out",
        "run",
        "--cache",
        "cache",
        "--tracking-uri",
        mlflow_address,
        "--epochs",
        "4",
    ]
    arguments += ["--acceptance", "photos", "--out-of-distribution", "greens"]
    running = process(folder, *TORCHRUN, "ml.train", *SETTINGS, *arguments)
    out, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, out + err
    state = json.loads((folder / "run" / "tracking.json").read_text())
    client = MlflowClient(mlflow_address)
    return folder, out, client.get_run(state["run_id"]), fetch(client, "two-colours", CHAMPION)


def test_bundle_can_be_served_and_names_its_origin(first, colours):
    folder, out, run, _ = first
    bundle = load(folder / "run" / "bundle")
    manifest = bundle.manifest
    assert Predictor(bundle).predict(np.zeros((3, 32, 32, 3), np.uint8)).shape == (3, 2)
    assert manifest.name == "two-colours" and manifest.classes == ["blue", "red"] and manifest.dataset.synthetic
    assert manifest.training.run_id == run.info.run_id and manifest.training.epochs == 4
    assert manifest.dataset.fingerprint == colours.fingerprint and manifest.dataset.counts == colours.counts()
    assert manifest.metrics.accuracy > 0.95 and manifest.metrics.pictures == len(colours.split("test"))
    assert manifest.parity.max_probability_difference < 1e-3
    assert f"{manifest.name} {manifest.version}, held-out images:" in out and "verdict" in out
    assert len(re.findall("Training ended: all epochs done; best of 4 epochs", out)) == 1, "one process reports"


def test_mlflow_has_parameters_and_metrics_of_every_epoch(first, colours, mlflow_address):
    folder, _, run, _ = first
    client = MlflowClient(mlflow_address)
    experiment = client.get_experiment(run.info.experiment_id)
    assert run.info.status == "FINISHED" and experiment.name == "two-colours"
    expected = {
        "architecture": "resnet18_slim",
        "size": "32",
        "epochs": "4",
        "data_fingerprint": colours.fingerprint,
        "train_pictures": str(len(colours.split("train"))),
        "classes": "blue, red",
        "device": "cpu",
    }
    assert expected.items() <= run.data.params.items() and run.data.tags["synthetic"] == "true"
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "images_per_second"):
        assert steps(client, run.info.run_id, name) == [1, 2, 3, 4]
    measured = load(folder / "run" / "bundle").manifest.metrics
    assert run.data.metrics["test_accuracy"] == measured.accuracy
    assert run.data.metrics["test_recall_red"] == measured.recall["red"]
    assert {"test_log_loss", "test_expected_calibration_error", "test_pictures"} <= run.data.metrics.keys()


def test_manifest_has_robustness_and_out_of_distribution(first):
    folder = first[0] / "run" / "bundle"
    manifest = load(folder).manifest
    acceptance = manifest.acceptance
    assert acceptance.metrics.pictures == 20 and acceptance.metrics.accuracy == 1
    assert acceptance.corrupted["turned by 90°, EXIF says so"] == 1 and len(acceptance.corrupted) == 8
    assert manifest.neither["greens"].pictures == 5 and manifest.neither["noise"].pictures == 50
    assert manifest.uncertainty.flagged <= 0.01 and manifest.metrics.uncertain is not None
    assert manifest.reference.pictures.keys() == {"brightness", "contrast", "sharpness"}
    assert manifest.precision == "fp16" and manifest.training.hours > 0 and "torch" in manifest.training.machine
    card = (folder / "MODEL_CARD.md").read_text()
    assert "On 20 other photos" in card and "| greens | 5 |" in card


# mlflow warns of its own type hints when its pyfunc module is first imported.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")
def test_mlflow_has_plots_bundle_and_model(first, mlflow_address, tmp_path):
    folder, _, run, champion = first
    mlflow.set_tracking_uri(mlflow_address)
    got = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path)))
    plots = {path.name: path.read_bytes() for path in (got / "plots").iterdir()}
    names = ("loss_curve", "confusion_matrix", "roc", "reliability", "worst_mistakes")
    assert plots.keys() == {f"{name}.png" for name in names}
    assert all(content.startswith(b"\x89PNG") for content in plots.values())
    bundle = load(folder / "run" / "bundle")
    assert load(got / bundle_path(bundle.manifest)) == bundle == champion
    (output,) = run.outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    (taken,), (given,) = model.metadata.signature.inputs.inputs, model.metadata.signature.outputs.inputs
    assert (taken.type, taken.shape) == (np.uint8, (-1, 32, 32, 3))
    assert (given.type, given.shape) == (np.float32, (-1, 2))
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    for some in (images[:1], images):
        # The bundle has 16-bit weights, and whole levels of colour in the border.
        np.testing.assert_allclose(model.predict(some), Predictor(bundle).predict(some), atol=2e-3)


def test_model_of_drawn_images_is_not_served(first):
    folder, out, _, _ = first
    assert not (folder / "models").exists()
    assert "models/champion is kept (--champion models/champion would replace it)" in out


def test_ctrl_c_exports_the_best_so_far_and_resume_continues(first, options, mlflow_address, tmp_path, capsys):
    data = str(first[0] / "data")
    running = process(tmp_path, "ml.train", *options, "--data", data, "--epochs", "6", "--out", "run")
    deadline = time.monotonic() + SECONDS
    while not (tmp_path / "run" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, out + err
    assert "Training ended: stopped by Ctrl-C; best of" in out and "View run" not in out
    for part in ("scan", "epoch   1/6", " images/s", "loss=", "accuracy=", "evaluating"):
        assert part in err
    # Nothing but progress bars.
    assert not [line for line in re.split(r"[\r\n]+", err) if line.strip() and not re.search(r"\d+%\|", line)]
    stopped = load(tmp_path / "run" / "bundle")
    assert 1 <= stopped.manifest.training.epochs < 6
    client = MlflowClient(mlflow_address)
    version = client.get_model_version_by_alias("two-colours", CHALLENGER).version
    assert fetch(client, "two-colours", CHALLENGER) == stopped

    more = ["--data", data, "--resume", "run", "--serve-size", "48", "--champion", "served"]
    assert main([*options, *more]) == 0
    out = capsys.readouterr().out
    assert (
        "best of 6 epochs" in out and "only the champion right" in out and "verdict                    promoted" in out
    )
    resumed = load(tmp_path / "run" / "bundle")
    assert load(tmp_path / "served") == resumed == fetch(client, "two-colours", CHAMPION)
    assert resumed.manifest.input.size == 48 and stopped.manifest.input.size == 32
    run_id = resumed.manifest.training.run_id
    assert run_id == stopped.manifest.training.run_id and resumed.manifest.training.epochs == 6
    assert steps(client, run_id, "train_loss") == [1, 2, 3, 4, 5, 6]
    run = client.get_run(run_id)
    assert run.data.metrics["test_log_loss"] == resumed.manifest.metrics.log_loss != stopped.manifest.metrics.log_loss
    assert len(run.outputs.model_outputs) == 1
    client.set_registered_model_alias("two-colours", "stopped", version)
    assert fetch(client, "two-colours", "stopped") == stopped, "the resumed run replaced an earlier bundle"


def test_ctrl_c_before_the_first_epoch_exports_nothing(options, colours_folder, capsys, monkeypatch, mlflow_address):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert main([*options, "--data", str(colours_folder), "--out", "run"]) == 130
    assert "Stopped; nothing was exported." in capsys.readouterr().err
    run_id = json.loads(Path("run/tracking.json").read_text())["run_id"]
    assert MlflowClient(mlflow_address).get_run(run_id).info.status == "KILLED"


def test_lost_mlflow_is_made_up_for_by_the_printed_commands(options, mlflow_address, tmp_path, capsys):
    data = drawn(tmp_path / "data", "lost-in-the-middle")
    lost = False

    def respond(handler, body):
        nonlocal lost
        lost = lost or b'"step": 1' in body
        if not lost:
            relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        arguments = ["--data", str(data), "--epochs", "3", "--out", "run", "--tracking-uri", address]
        assert main([*options, *arguments]) == 1
    err = capsys.readouterr().err
    for item in ("metrics of step 1 (", "metrics of step 3", "file plots", "model model", "status"):
        assert f"\n  {item}" in err
    commands = re.findall(r"^  \S*python\S* -m (ml\.\w+) (.+)$", err, re.MULTILINE)
    assert [name for name, _ in commands] == ["ml.tracking", "ml.registry", "ml.registry"]
    assert commands[0][1] == "run"
    # In a process of its own, since mlflow caches the address of the run's artifacts.
    sending = process(tmp_path, "ml.tracking", "run", "--tracking-uri", mlflow_address)
    assert sending.communicate(timeout=SECONDS) and sending.returncode == 0
    for _, line in commands[1:]:
        assert registry(["--tracking-uri", mlflow_address, *line.split()]) == 0, capsys.readouterr().err
    client = MlflowClient(mlflow_address)
    bundle = load(tmp_path / "run" / "bundle")
    run = client.get_run(bundle.manifest.training.run_id)
    assert run.info.status == "FINISHED" and len(run.outputs.model_outputs) == 1
    assert steps(client, run.info.run_id, "train_loss") == [1, 2, 3]
    assert fetch(client, "lost-in-the-middle", CHAMPION) == bundle


def test_gate_needs_the_bundle_and_no_plot(options, mlflow_address, tmp_path, capsys):
    data = drawn(tmp_path / "data", "plots-refused")

    def respond(handler, body):
        if handler.command == "PUT" and "/plots/" in handler.path:
            answer(handler, 413, b"Request Entity Too Large", "text/plain")
        else:
            relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        arguments = ["--data", str(data), "--epochs", "3", "--out", "run", "--champion", "served champion"]
        assert main([*options, *arguments, "--tracking-uri", address]) == 0
        out, err = capsys.readouterr()
        assert "\n  file plots (" in err and re.findall(r"-m (ml\.\w+)", err) == ["ml.tracking"]
        assert f"`MODEL_DIR='{tmp_path}/served champion' make up` serves it" in out
        bundle = load(tmp_path / "served champion")
        assert fetch(MlflowClient(address), "plots-refused", CHAMPION) == bundle


def test_missing_folder_is_reported_before_the_slow_imports():
    code = "import sys, ml.train; ml.train.main(['--data', 'none']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=servers.ROOT, capture_output=True, text=True)
    assert "There is no folder none" in done.stderr
    assert not {"mlflow", "torch", "onnx"} & set(done.stdout.split())


def test_invalid_input_is_refused_in_one_line_before_the_training(options, colours_folder, first, tmp_path, capsys):
    def refused(*arguments: str) -> str:
        assert main([*options, "--data", str(colours_folder), *arguments]) == 2
        lines = re.split(r"[\r\n]+", capsys.readouterr().err)
        (line,) = [line for line in lines if line.strip() and "%|" not in line]
        return line

    nobody = f"http://127.0.0.1:{servers.free_port()}"
    assert refused("--tracking-uri", nobody).startswith(f"MLflow at {nobody} does not answer")
    assert "There is no folder none" in refused("--data", "none", "--tracking-uri", nobody)
    assert "run/checkpoint.pt does not exist: no epoch was completed" in refused("--resume", "run")
    assert "w.pt cannot be read" in refused("--weights", "w.pt")
    if not torch.backends.mps.is_available():
        assert "finds no mps device" in refused("--device", "mps")
    photos = tmp_path / "photos"
    assert "has 140 images of the data set" in refused("--acceptance", str(colours_folder))
    draw(photos, {"red": COLOURS["red"], "violet": COLOURS["blue"]}, 1)
    assert "has the classes red, violet, not blue, red." in refused("--acceptance", str(photos))
    assert "not a folder of images only" in refused("--neither", str(photos))
    run = str(first[0] / "run")
    assert f"holds a run already: resume it with --resume {run}" in refused("--out", run)
    assert "other settings (batch)" in refused("--resume", run, "--batch", "8")
    (tmp_path / "file").write_text("")
    assert "file" in refused("--out", "file/run")
    (tmp_path / "models" / "champion").mkdir(parents=True)
    (tmp_path / "models" / "champion" / "manifest.json").write_text("{")
    assert "manifest.json: is not JSON" in refused()
    assert not (tmp_path / "runs").exists(), "a run was started"
