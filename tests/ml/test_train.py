"""The whole command: from a folder of pictures to a bundle, with everything in a real MLflow."""

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
from ml.registry import model_registry as registry
from ml.registry.model_registry import CHALLENGER, CHAMPION, fetch
from ml.train import main
from tests import servers
from tests.ml.conftest import COLOURS, draw
from tests.services.monitor.stubs import relay, serving

RECIPE = ["--architecture", "resnet18_slim", "--size", "32", "--batch", "16", "--device", "cpu"]


@pytest.fixture
def options(mlflow_address, cache, tmp_path, monkeypatch):
    """What all runs of these tests share; they run in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return [*RECIPE, "--cache", str(cache), "--tracking-uri", mlflow_address]


def drawn(folder: Path, name: str) -> Path:
    """The colours as a drawn data set of its own name."""
    draw(folder, COLOURS, 70)
    (folder / "dataset.json").write_text(json.dumps({"name": name, "synthetic": True}))
    return folder


def process(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ml.train", *arguments]
    env = os.environ | {"PYTHONPATH": str(servers.ROOT)}
    return subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def first(tmp_path_factory, mlflow_address, cache):
    """A first run, as a process; gives its folder, what it printed, and its run in MLflow."""
    folder = tmp_path_factory.mktemp("first")
    data = drawn(folder / "data", "two-colours")
    arguments = [*RECIPE, "--cache", str(cache), "--tracking-uri", mlflow_address, "--epochs", "4"]
    draw(folder / "photos", COLOURS, 10, seed=1)
    draw(folder, {"greens": (30, 220, 30)}, 5, seed=2)
    arguments += ["--acceptance", str(folder / "photos"), "--neither", str(folder / "greens")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        running = process([*arguments, "--data", str(data), "--out", "run"], folder)
        out, err = running.communicate(timeout=200)
    assert running.returncode == 0, out + err
    state = json.loads((folder / "run" / "tracking.json").read_text())
    return folder, out, err, MlflowClient(mlflow_address).get_run(state["run_id"])


def test_the_bundle_can_be_served_and_says_where_it_is_from(first, colours):
    folder, out, _, run = first
    bundle = load(folder / "run" / "bundle")
    manifest = bundle.manifest
    assert Predictor(bundle).predict(np.zeros((3, 32, 32, 3), np.uint8)).shape == (3, 2)
    assert manifest.name == "two-colours" and manifest.classes == ["blue", "red"] and manifest.dataset.synthetic
    assert manifest.training.run_id == run.info.run_id and manifest.training.epochs == 4
    assert manifest.dataset.fingerprint == colours.fingerprint and manifest.dataset.counts == colours.counts()
    assert manifest.metrics.accuracy > 0.95 and manifest.metrics.pictures == len(colours.split("test"))
    assert manifest.parity.max_probability_difference < 1e-3
    assert f"{manifest.name} {manifest.version}, held-out pictures:" in out
    assert "best of 4 epochs" in out and "verdict" in out


def test_mlflow_has_parameters_and_the_metrics_of_every_epoch(first, colours, mlflow_address):
    *_, run = first
    client = MlflowClient(mlflow_address)
    assert run.info.status == "FINISHED" and client.get_experiment(run.info.experiment_id).name == "two-colours"
    expected = {
        "architecture": "resnet18_slim",
        "size": "32",
        "epochs": "4",
        "data_fingerprint": colours.fingerprint,
        "train_pictures": str(len(colours.split("train"))),
        "classes": "blue, red",
        "device": "cpu",
    }
    assert expected.items() <= run.data.params.items()
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "images_per_second"):
        assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [1, 2, 3, 4]
    measured = load(first[0] / "run" / "bundle").manifest.metrics
    assert run.data.metrics["test_accuracy"] == measured.accuracy
    assert run.data.metrics["test_recall_red"] == measured.recall["red"]
    assert {"test_log_loss", "test_expected_calibration_error", "test_pictures"} <= run.data.metrics.keys()
    assert run.data.tags["synthetic"] == "true"


def test_the_manifest_has_what_was_measured_besides(first):
    manifest = load(first[0] / "run" / "bundle").manifest
    accepted = manifest.acceptance
    assert accepted.metrics.pictures == 20 and accepted.metrics.accuracy == 1
    assert accepted.corrupted["turned by 90°, EXIF says so"] == 1 and len(accepted.corrupted) == 8
    assert manifest.neither["greens"].pictures == 5 and manifest.neither["noise"].pictures == 50
    assert manifest.uncertainty.flagged <= 0.01 and manifest.metrics.uncertain is not None
    assert manifest.reference.pictures.keys() == {"brightness", "contrast", "sharpness"}
    assert manifest.precision == "fp16" and manifest.training.hours > 0 and "torch" in manifest.training.machine
    card = (first[0] / "run" / "bundle" / "MODEL_CARD.md").read_text()
    assert "On 20 other photos" in card and "| greens | 5 |" in card


def test_mlflow_has_the_plots_and_the_bundle(first, mlflow_address, tmp_path):
    folder, _, _, run = first
    mlflow.set_tracking_uri(mlflow_address)
    got = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path)))
    plots = {path.name: path.read_bytes() for path in (got / "plots").iterdir()}
    assert plots.keys() == {
        f"{name}.png" for name in ("loss_curve", "confusion_matrix", "roc", "reliability", "worst_mistakes")
    }
    assert all(content.startswith(b"\x89PNG") for content in plots.values())
    bundle = load(folder / "run" / "bundle")
    assert load(got / registry.bundle_path(bundle.manifest)) == bundle


# mlflow warns of its own type hints when its pyfunc module is first imported.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")
def test_mlflow_has_the_model_with_its_signature(first, mlflow_address):
    folder, _, _, run = first
    mlflow.set_tracking_uri(mlflow_address)
    (output,) = run.outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    (taken,), (given,) = model.metadata.signature.inputs.inputs, model.metadata.signature.outputs.inputs
    assert (taken.type, taken.shape) == (np.uint8, (-1, 32, 32, 3))
    assert (given.type, given.shape) == (np.float32, (-1, 2))
    predictor = Predictor(load(folder / "run" / "bundle"))
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    for some in (pictures[:1], pictures):
        # The bundle has weights of 16 bits, and whole levels of colour around a picture.
        np.testing.assert_allclose(model.predict(some), predictor.predict(some), atol=2e-3)


def test_drawn_pictures_make_a_champion_in_mlflow_but_are_not_served(first, mlflow_address):
    folder, out, _, _ = first
    assert fetch(MlflowClient(mlflow_address), "two-colours", CHAMPION) == load(folder / "run" / "bundle")
    assert not (folder / "models").exists()
    assert "models/champion stays as it is (--champion models/champion would replace it)" in out


def test_the_terminal_shows_progress_and_no_chatter(first):
    _, out, err, _ = first
    for part in ("scan", "epoch   4/4", " images/s", "loss=", "accuracy=", "evaluating"):
        assert part in err
    # What stands between the bars, but for the bars.
    rest = [line for line in re.split(r"[\r\n]+", err) if line.strip() and not re.search(r"\d+%\|", line)]
    assert rest == []
    assert "Traceback" not in out + err and "View run" not in out


def test_a_second_run_is_gated_against_the_first_and_may_be_served(first, options, capsys, mlflow_address, tmp_path):
    arguments = ["--data", str(first[0] / "data"), "--epochs", "3", "--seed", "1", "--champion", "served"]
    assert main([*options, *arguments, "--out", "run"]) == 0
    out = capsys.readouterr().out
    assert "only the champion right" in out and "verdict                    promoted" in out
    bundle = load(tmp_path / "run" / "bundle")
    assert load(tmp_path / "served") == bundle
    assert fetch(MlflowClient(mlflow_address), "two-colours", CHAMPION) == bundle


def test_ctrl_c_exports_the_best_so_far_and_resume_goes_on(options, mlflow_address, tmp_path, capsys):
    data = drawn(tmp_path / "data", "interrupted")
    running = process([*options, "--data", str(data), "--epochs", "6", "--out", "run"], tmp_path)
    deadline = time.monotonic() + 100
    while not (tmp_path / "run" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=100)
    assert running.returncode == 0, out + err
    assert "Training ended: stopped by Ctrl-C; best of" in out and "Traceback" not in err
    stopped = load(tmp_path / "run" / "bundle")
    assert 1 <= stopped.manifest.training.epochs < 6
    client = MlflowClient(mlflow_address)
    assert fetch(client, "interrupted", CHALLENGER) == stopped

    assert main([*options, "--data", str(data), "--resume", "run", "--serve-size", "48"]) == 0
    assert "best of 6 epochs" in capsys.readouterr().out
    resumed = load(tmp_path / "run" / "bundle")
    assert resumed.manifest.input.size == 48 and stopped.manifest.input.size == 32
    run_id = resumed.manifest.training.run_id
    assert run_id == stopped.manifest.training.run_id and resumed.manifest.training.epochs == 6
    assert [m.step for m in client.get_metric_history(run_id, "train_loss")] == [1, 2, 3, 4, 5, 6]
    run = client.get_run(run_id)
    assert run.data.metrics["test_log_loss"] == resumed.manifest.metrics.log_loss != stopped.manifest.metrics.log_loss
    assert len(run.outputs.model_outputs) == 1
    # The bundle of the first end is still what it was.
    first_version = client.get_model_version("interrupted", "1")
    assert first_version.tags["bundle_version"] == stopped.manifest.version
    client.set_registered_model_alias("interrupted", "first", "1")
    assert fetch(client, "interrupted", "first") == stopped
    assert fetch(client, "interrupted", CHALLENGER) == resumed


def test_ctrl_c_before_the_first_epoch(options, colours_folder, capsys, monkeypatch, mlflow_address, tmp_path):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert main([*options, "--data", str(colours_folder), "--out", "run"]) == 130
    assert "Stopped; nothing was exported." in capsys.readouterr().err
    run_id = json.loads((tmp_path / "run" / "tracking.json").read_text())["run_id"]
    assert MlflowClient(mlflow_address).get_run(run_id).info.status == "KILLED"


def test_mlflow_lost_in_the_middle(options, mlflow_address, tmp_path, capsys):
    """Training goes on, says what to type, and that is enough."""
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
    for named in ("metrics of step 1 (", "metrics of step 3", "file plots", "model model", "status"):
        assert f"\n  {named}" in err
    commands = re.findall(r"^  \S*python\S* -m (ml\.\w+) (.+)$", err, re.MULTILINE)
    assert [name for name, _ in commands] == ["ml.tracking", "ml.registry", "ml.registry"]
    # A process of its own, for mlflow remembers in this one where the run's artifacts went.
    sending = [sys.executable, "-m", "ml.tracking", "run", "--tracking-uri", mlflow_address]
    assert commands[0][1] == "run"
    subprocess.run(sending, env=os.environ | {"PYTHONPATH": str(servers.ROOT)}, check=True, timeout=100)
    for _, line in commands[1:]:
        assert registry.main(["--tracking-uri", mlflow_address, *line.split()]) == 0, capsys.readouterr().err
    client = MlflowClient(mlflow_address)
    bundle = load(tmp_path / "run" / "bundle")
    run = client.get_run(bundle.manifest.training.run_id)
    assert run.info.status == "FINISHED" and len(run.outputs.model_outputs) == 1
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train_loss")] == [1, 2, 3]
    assert fetch(client, "lost-in-the-middle", CHAMPION) == bundle


def refused(arguments: list[str], capsys) -> str:
    assert main(arguments) == 2
    lines = [line for line in re.split(r"[\r\n]+", capsys.readouterr().err) if line.strip() and "%|" not in line]
    assert len(lines) == 1, lines
    return lines[0]


def test_mlflow_unreachable_is_one_sentence_before_anything_is_read(options, tmp_path, capsys):
    nobody = f"http://127.0.0.1:{servers.free_port()}"
    sentence = refused([*options, "--data", str(tmp_path / "none"), "--tracking-uri", nobody], capsys)
    assert sentence.startswith(f"MLflow at {nobody} does not answer: start it with `make up`")


def test_what_cannot_work_is_one_sentence_before_the_training(options, colours_folder, first, tmp_path, capsys):
    good = [*options, "--data", str(colours_folder)]
    assert "There is no folder" in refused([*options, "--data", "none"], capsys)
    assert "run/checkpoint.pt does not exist: no epoch was finished" in refused([*good, "--resume", "run"], capsys)
    assert "w.pt: cannot be read" in refused([*good, "--weights", "w.pt"], capsys)
    if not torch.backends.mps.is_available():
        assert "finds no mps device" in refused([*good, "--device", "mps"], capsys)
    photos = first[0] / "photos"
    assert "has 140 pictures of the data set: what was seen" in refused([*good, "--acceptance", good[-1]], capsys)
    (photos / "blue").rename(photos / "violet")
    assert "has the classes red, violet, not blue, red." in refused([*good, "--acceptance", str(photos)], capsys)
    assert "not a folder of pictures alone" in refused([*good, "--neither", str(photos)], capsys)
    run = str(first[0] / "run")
    assert f"holds a run already: go on with it by --resume {run}" in refused([*good, "--out", run], capsys)
    assert "different: batch" in refused([*good, "--resume", run, "--batch", "8"], capsys)
    (tmp_path / "file").write_text("")
    assert "file" in refused([*good, "--out", "file/run"], capsys)
    (tmp_path / "models" / "champion").mkdir(parents=True)
    (tmp_path / "models" / "champion" / "manifest.json").write_text("{")
    assert "manifest.json: is not JSON" in refused(good, capsys)
    assert not (tmp_path / "runs").exists(), "a run was begun"
