"""The whole command: from a folder of images to a bundle, with everything in a real MLflow."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from bundle.load import load
from bundle.predictor import Predictor
from bundle.preprocess import decode
from bundle.signals import SIGNALS
from ml.data.sample import sample
from ml.evaluation.robustness import CORRUPTIONS
from ml.model.classifier import build
from ml.model.names import BACKBONE
from ml.registry.__main__ import main as registry
from ml.registry.model_registry import CHALLENGER, CHAMPION, bundle_path, fetch
from ml.train import main
from ml.training import checkpoint
from ml.training.head import EPOCHS
from ml.training.trainer import fit
from tests import drawn_images, servers
from tests.ml.conftest import COLOURS, SIDE, TINY, draw
from tests.services.monitor.stubs import answer, relay, serving

# Each process imports PyTorch and MLflow and exports a graph, which takes minutes on a busy machine.
SECONDS = 600
pytestmark = [
    pytest.mark.timeout(2 * SECONDS),
    # mlflow warns of its own type hints when its pyfunc module is first imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]

SCRATCH = ["--architecture", TINY, "--weights", "scratch", "--size", "32", "--batch", "16", "--device", "cpu"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]


@pytest.fixture
def options(mlflow_address, cache, tmp_path, monkeypatch):
    """The options that all runs share; each test runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return ["--device", "cpu", "--cache", str(cache), "--tracking-uri", mlflow_address]


@pytest.fixture
def quick(options, cache):
    """Options that train a head on the features of a small network with random weights."""
    weights = cache / "random.pt"
    if not weights.exists():
        torch.manual_seed(0)
        torch.save(build(TINY, 2, "scratch").state_dict(), weights)
    return [*options, "--architecture", TINY, "--weights", str(weights), "--size", "32"]


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
def first(tmp_path_factory, mlflow_address, shape_features, shapes, shapes_folder, cache):
    """A run with the defaults but its size: its folder, output, run in MLflow, and champion afterwards.

    The features of the test images and the graph of the backbone are in the cache already.
    """
    folder = tmp_path_factory.mktemp("first")
    sample(folder / "photos", images=20, seed=1, progress=False)
    draw(folder, {"greens": (30, 220, 30)}, 5, seed=2)
    arguments = ["--data", str(shapes_folder), "--size", str(SIDE), "--out", "run", "--cache", str(cache)]
    arguments += ["--device", "cpu", "--tracking-uri", mlflow_address, "--acceptance", "photos"]
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        patch.chdir(folder)
        assert main([*arguments, "--out-of-distribution", "greens"]) == 0
    state = json.loads((folder / "run" / "tracking.json").read_text())
    client = MlflowClient(mlflow_address)
    run, champion = client.get_run(state["run_id"]), fetch(client, shapes.name, CHAMPION)
    return folder, out.getvalue(), run, champion


def test_bundle_can_be_served_and_names_its_origin(first, shapes):
    folder, out, run, _ = first
    bundle = load(folder / "run" / "bundle")
    manifest = bundle.manifest
    assert Predictor(bundle).predict(np.zeros((3, SIDE, SIDE, 3), np.uint8)).shape == (3, 2)
    assert manifest.name == shapes.name and manifest.classes == ["circle", "square"] and manifest.dataset.synthetic
    assert manifest.training.run_id == run.info.run_id and manifest.training.epochs == 0
    assert (manifest.training.architecture, manifest.training.initial_weights) == (BACKBONE, "pretrained")
    assert manifest.dataset.fingerprint == shapes.fingerprint and manifest.dataset.counts == shapes.counts()
    assert manifest.metrics.accuracy > 0.8 and manifest.metrics.pictures == len(shapes.split("test"))
    assert manifest.parity.max_probability_difference < 2e-2 and manifest.precision == "fp16"
    assert f"{manifest.name} {manifest.version}, held-out images:" in out and "verdict" in out
    known = len(shapes.images) - len(shapes.split("test"))
    assert re.search(rf"Cross-validation in 5 folds: [89]\d\.\d% of {known} images are right \(95 % interval", out)


def test_mlflow_has_parameters_and_metrics(first, shapes, mlflow_address):
    folder, _, run, _ = first
    client = MlflowClient(mlflow_address)
    experiment = client.get_experiment(run.info.experiment_id)
    assert run.info.status == "FINISHED" and experiment.name == shapes.name
    expected = {
        "architecture": BACKBONE,
        "weights": "pretrained",
        "size": str(SIDE),
        "epochs": "0",
        "data_fingerprint": shapes.fingerprint,
        "train_pictures": str(len(shapes.split("train"))),
        "classes": "circle, square",
        "device": "cpu",
    }
    assert expected.items() <= run.data.params.items() and run.data.tags["synthetic"] == "true"
    (logged,) = run.inputs.dataset_inputs
    assert logged.dataset.name == shapes.name and json.loads(logged.dataset.profile) == shapes.counts()
    assert shapes.fingerprint.startswith(logged.dataset.digest)
    for name in ("train/head_loss", "validation/head_loss"):
        assert steps(client, run.info.run_id, name) == list(range(1, EPOCHS + 1))
    measured = load(folder / "run" / "bundle").manifest.metrics
    assert run.data.metrics["cross_validation/accuracy"] > 0.8
    assert run.data.metrics["test/accuracy"] == measured.accuracy
    assert run.data.metrics["test/recall_square"] == measured.recall["square"]
    assert {"test/log_loss", "test/expected_calibration_error", "test/pictures"} <= run.data.metrics.keys()


def test_manifest_has_robustness_and_out_of_distribution(first):
    folder = first[0] / "run" / "bundle"
    manifest = load(folder).manifest
    acceptance = manifest.acceptance
    assert acceptance.metrics.pictures == 20 and acceptance.metrics.accuracy > 0.7
    # Written again as JPEG, which may turn an answer near the boundary.
    assert abs(acceptance.corrupted["turned by 90°, EXIF says so"] - acceptance.metrics.accuracy) < 0.11
    assert acceptance.corrupted.keys() == CORRUPTIONS.keys()
    assert manifest.neither.keys() == {"greens"} and manifest.neither["greens"].pictures == 5
    assert manifest.uncertainty.flagged <= 0.01 and manifest.metrics.uncertain is not None
    assert manifest.reference.pictures.keys() == {"brightness", "contrast", "sharpness"}
    assert manifest.reference.images == manifest.metrics.pictures
    assert list(manifest.reference.signals) == list(SIGNALS)
    assert "torch" in manifest.training.machine
    card = (folder / "MODEL_CARD.md").read_text()
    assert "On 20 other photos" in card and "| greens | 5 |" in card


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
    images = [drawn_images.plain(colour) for colour in (drawn_images.RED, drawn_images.GREEN)]
    found = model.predict(pd.DataFrame({"image": images}))
    pixels = np.stack([decode(image, SIDE, bundle.manifest.input.resize) for image in images])
    np.testing.assert_allclose(found["confidence"], Predictor(bundle).predict(pixels).max(1), atol=1e-5)


def test_model_of_drawn_images_is_not_served(first):
    folder, out, _, _ = first
    assert not (folder / "models").exists()
    assert "models/champion is kept (--champion models/champion would replace it)" in out


def test_ctrl_c_exports_the_best_so_far_and_two_processes_resume(options, mlflow_address, cache, tmp_path):
    data = drawn(tmp_path / "data", "two-colours")
    arguments = [*options, *SCRATCH, "--data", str(data), "--epochs", "12", "--learning-rate", "0.01"]
    running = process(tmp_path, "ml.train", *arguments, "--out", "run")
    deadline = time.monotonic() + SECONDS
    while not (tmp_path / "run" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, out + err
    assert "Training ended: stopped by Ctrl-C; best of" in out and "View run" not in out
    for part in ("scan", "epoch   1/12", " images/s", "loss=", "accuracy=", "evaluating"):
        assert part in err
    # Nothing but progress bars.
    assert not [line for line in re.split(r"[\r\n]+", err) if line.strip() and not re.search(r"\d+%\|", line)]
    stopped = load(tmp_path / "run" / "bundle")
    assert 1 <= stopped.manifest.training.epochs < 12
    client = MlflowClient(mlflow_address)
    version = client.get_model_version_by_alias("two-colours", CHALLENGER).version
    assert fetch(client, "two-colours", CHALLENGER) == stopped

    more = ["--resume", "run", "--serve-size", "48", "--champion", "served"]
    running = process(tmp_path, *TORCHRUN, "ml.train", *arguments, *more)
    out, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, out + err
    assert len(re.findall("Training ended: .* best of 12 epochs", out)) == 1, "one process reports"
    assert "only the champion right" in out and "verdict                    promoted" in out
    resumed = load(tmp_path / "run" / "bundle")
    assert load(tmp_path / "served") == resumed == fetch(client, "two-colours", CHAMPION)
    assert resumed.manifest.input.size == 48 and stopped.manifest.input.size == 32
    assert resumed.manifest.metrics.accuracy > 0.9 and resumed.manifest.training.hours > 0
    run_id = resumed.manifest.training.run_id
    assert run_id == stopped.manifest.training.run_id and resumed.manifest.training.epochs == 12
    for name in ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy", "speed/images_per_second"):
        assert steps(client, run_id, name) == list(range(1, 13))
    run = client.get_run(run_id)
    assert run.data.metrics["test/log_loss"] == resumed.manifest.metrics.log_loss != stopped.manifest.metrics.log_loss
    assert len(run.outputs.model_outputs) == 1
    client.set_registered_model_alias("two-colours", "stopped", version)
    assert fetch(client, "two-colours", "stopped") == stopped, "the resumed run replaced an earlier bundle"


def test_a_blend_of_fine_tuned_and_pretrained_weights_gets_a_head_of_its_own(
    quick, tmp_path, capsys, mlflow_address, monkeypatch
):
    def fit_more(network, *arguments):
        result = fit(network, *arguments)
        more = {name: value * 1.2 if value.ndim == 4 else value for name, value in result.best.items()}
        return replace(result, best=more)

    monkeypatch.setattr("ml.pipeline.fit", fit_more)
    data = drawn(tmp_path / "data", "fine-tuned")
    arguments = [*quick, "--data", str(data), "--epochs", "1", "--frozen", "2", "--out", "run", "--precision", "int8"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "best of 1 epochs" in out and "Cross-validation" not in out
    first_head, _, later = err.partition("epoch   1/1")
    assert "augmented" not in first_head and "features of augmented training images" in later
    manifest = load(tmp_path / "run" / "bundle").manifest
    assert manifest.training.initial_weights.startswith("random.pt sha256:") and manifest.precision == "int8"
    assert manifest.training.epochs == 1 and manifest.training.recipe["blend"] == 0.4
    assert manifest.metrics.accuracy > 0.9 and manifest.uncertainty.flagged <= 0.05
    client, run_id = MlflowClient(mlflow_address), manifest.training.run_id
    first, final = (
        [metric.value for metric in client.get_metric_history(run_id, f"validation/{name}")]
        for name in ("head_loss", "final_head_loss")
    )
    assert len(first) == len(final) == EPOCHS and first != final


def test_ctrl_c_before_the_first_epoch_advises_to_train_again(
    options, colours_folder, capsys, monkeypatch, mlflow_address
):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert main([*options, *SCRATCH, "--data", str(colours_folder), "--out", "run"]) == 130
    err = capsys.readouterr().err
    assert "Stopped." in err and "another --out" in err and "--resume" not in err
    run_id = json.loads(Path("run/tracking.json").read_text())["run_id"]
    assert MlflowClient(mlflow_address).get_run(run_id).info.status == "KILLED"


def test_ctrl_c_after_an_epoch_advises_to_resume(options, config, colours_folder, capsys, monkeypatch):
    def stopped(run):
        checkpoint.write(run.folder / "checkpoint.pt", config, {})
        raise KeyboardInterrupt

    monkeypatch.setattr("ml.pipeline.train", stopped)
    assert main([*options, *SCRATCH, "--data", str(colours_folder), "--out", "run"]) == 130
    assert "Stopped. --resume run continues" in capsys.readouterr().err


def test_full_memory_of_the_device_is_explained(options, colours_folder, capsys, monkeypatch, mlflow_address):
    def fail(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("ml.pipeline.train", fail)
    assert main([*options, *SCRATCH, "--data", str(colours_folder), "--out", "run"]) == 2
    assert re.search("memory of cpu .* lower --batch or a smaller --train-size", capsys.readouterr().err)
    run_id = json.loads(Path("run/tracking.json").read_text())["run_id"]
    assert MlflowClient(mlflow_address).get_run(run_id).info.status == "FAILED"


def test_lost_mlflow_is_made_up_for_by_the_printed_commands(quick, mlflow_address, tmp_path, capsys):
    data = drawn(tmp_path / "data", "lost-in-the-middle")
    lost = False

    def respond(handler, body):
        nonlocal lost
        lost = lost or b'"step": 1' in body
        if not lost:
            relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        arguments = ["--data", str(data), "--out", "run", "--tracking-uri", address]
        assert main([*quick, *arguments]) == 1
    err = capsys.readouterr().err
    for item in ("metrics of step 1 (", "metrics of step 12", "file plots", "model model", "status"):
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
    assert steps(client, run.info.run_id, "train/head_loss") == list(range(1, EPOCHS + 1))
    assert fetch(client, "lost-in-the-middle", CHAMPION) == bundle


def test_gate_needs_the_bundle_and_no_plot(quick, mlflow_address, tmp_path, capsys):
    data = drawn(tmp_path / "data", "plots-refused")

    def respond(handler, body):
        if handler.command == "PUT" and "/plots/" in handler.path:
            answer(handler, 413, b"Request Entity Too Large", "text/plain")
        else:
            relay(mlflow_address)(handler, body)

    with serving(respond) as address:
        arguments = ["--data", str(data), "--out", "run", "--champion", "served champion"]
        assert main([*quick, *arguments, "--tracking-uri", address]) == 0
        out, err = capsys.readouterr()
        assert "\n  file plots (" in err and re.findall(r"-m (ml\.\w+)", err) == ["ml.tracking"]
        assert f"`MODEL_DIR='{tmp_path}/served champion' make up` serves it" in out
        bundle = load(tmp_path / "served champion")
        version = bundle.manifest.version
        assert f"-m ml.registry publish {version} --name plots-refused --push --registry ghcr.io/" in out
        assert f"  make deploy MODEL={version} REGISTRY=ghcr.io/" in out
        assert fetch(MlflowClient(address), "plots-refused", CHAMPION) == bundle


def test_missing_folder_is_reported_before_the_slow_imports():
    code = "import sys, ml.train; ml.train.main(['--data', 'none']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=servers.ROOT, capture_output=True, text=True)
    assert "There is no folder none" in done.stderr
    assert not {"mlflow", "torch", "onnx"} & set(done.stdout.split())


def test_invalid_input_is_refused_in_one_line_before_the_training(
    options, colours_folder, config, first, tmp_path, capsys
):
    def refused(*arguments: str) -> str:
        assert main([*options, *SCRATCH, "--data", str(colours_folder), *arguments]) == 2
        lines = re.split(r"[\r\n]+", capsys.readouterr().err)
        (line,) = [line for line in lines if line.strip() and "%|" not in line]
        return line

    nobody = f"http://127.0.0.1:{servers.free_port()}"
    assert refused("--tracking-uri", nobody).startswith(f"MLflow at {nobody} does not answer")
    assert "There is no folder none" in refused("--data", "none", "--tracking-uri", nobody)
    assert "run/checkpoint.pt does not exist: the run was stopped before" in refused("--resume", "run")
    assert "w.pt cannot be read" in refused("--weights", "w.pt")
    assert "Unknown architecture 'resnet5': name one of" in refused("--architecture", "resnet5")
    assert "--weights scratch needs --epochs of 1 or more" in refused("--epochs", "0")
    if not torch.backends.mps.is_available():
        assert "finds no mps device" in refused("--device", "mps")
    photos = tmp_path / "photos"
    assert "has 140 images of the data set" in refused("--acceptance", str(colours_folder))
    draw(photos, {"red": COLOURS["red"], "violet": COLOURS["blue"]}, 1)
    assert "has the classes red, violet, not blue, red." in refused("--acceptance", str(photos))
    assert "not a folder of images only" in refused("--neither", str(photos))
    run = str(first[0] / "run")
    assert "holds a run already: choose another --out" in refused("--out", run)
    assert "stopped before its first epoch, or trained the head alone" in refused("--resume", run)
    checkpoint.write(tmp_path / "checkpoint.pt", config, {})
    assert "other settings (batch)" in refused("--resume", str(tmp_path), "--batch", "8")
    (tmp_path / "file").write_text("")
    assert "file" in refused("--out", "file/run")
    (tmp_path / "models" / "champion").mkdir(parents=True)
    (tmp_path / "models" / "champion" / "manifest.json").write_text("{")
    assert "manifest.json: is not JSON" in refused()
    assert not (tmp_path / "runs").exists(), "a run was started"
