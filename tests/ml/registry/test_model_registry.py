"""Challengers and champions in a real MLflow registry."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from bundle.files import BundleError
from bundle.load import Bundle, load
from ml.data.dataset import Dataset
from ml.data.scan import scan
from ml.export.write_bundle import write
from ml.registry.__main__ import main
from ml.registry.model_registry import (
    CHALLENGER,
    CHAMPION,
    RegistryError,
    bundle_path,
    challenge,
    fetch,
    model_name,
    promote,
    register,
    served_bundle,
)
from ml.tracking.client import connect
from ml.tracking.tracker import Tracker
from tests import bundles
from tests.ml.conftest import draw

COLOURS = {"green": (30, 200, 30), "red": (200, 30, 30)}


@pytest.fixture
def client(mlflow_address):
    return connect(mlflow_address)


@pytest.fixture
def logged(client, tmp_path):
    """Log a bundle with a run of its own, as training does."""

    def log(
        name: str, version: str = "1", classes: tuple[str, ...] = ("red", "green"), always_wrong: bool = False
    ) -> Bundle:
        folder = tmp_path / f"run-{name.replace('/', '-')}-{version}"
        folder.mkdir()
        tracker = Tracker.start(client, folder, "registry tests", version, {})
        made = load(bundles.write(folder / "made", classes=list(classes), name=name, version=version))
        if always_wrong:
            made = swapped(made)
        training = made.manifest.training.model_copy(update={"run_id": tracker.run_id})
        bundle = replace(made, manifest=made.manifest.model_copy(update={"training": training}))
        write(folder / "bundle", bundle)
        tracker.file(folder / "bundle", to=bundle_path(bundle.manifest))
        assert tracker.finish() == []
        return bundle

    return log


def swapped(bundle: Bundle) -> Bundle:
    """Swap red and green in the answers of a bundle."""
    graph = onnx.load_from_string(bundle.model)
    (first,) = (tensor for tensor in graph.graph.initializer if tensor.name == "first")
    first.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(first), "first"))
    model = graph.SerializeToString()
    sha256 = hashlib.sha256(model).hexdigest()
    return Bundle(bundle.manifest.model_copy(update={"model_sha256": sha256}), model)


def register_run(client, bundle: Bundle):
    return register(client, bundle, bundle.manifest.training.run_id)


def submit(client, bundle: Bundle, data: Dataset, served: Bundle | None):
    return challenge(client, register_run(client, bundle), bundle, data, served)


def test_registered_bundle_is_fetched_unchanged(client, logged):
    bundle = logged("round-trip")
    version = register_run(client, bundle)
    assert fetch(client, "round-trip", CHAMPION) is None
    assert fetch(client, "round-trip", CHALLENGER) == bundle
    assert version.tags == {"bundle_version": "1", "model_sha256": bundle.manifest.model_sha256}
    assert version.run_id == bundle.manifest.training.run_id
    promote(client, "round-trip", version.version)
    assert fetch(client, "round-trip", CHAMPION) == bundle
    second = logged("round-trip", "2")
    register_run(client, second)
    assert fetch(client, "round-trip", CHALLENGER) == second
    assert fetch(client, "round-trip", CHAMPION) == bundle


def test_name_is_made_valid_and_an_unknown_one_has_no_bundle(client, logged):
    bundle = logged("Bob's/photos: 2026")
    assert register_run(client, bundle).name == "bob-s-photos-2026"
    assert fetch(client, "bob-s-photos-2026", CHALLENGER) == bundle
    assert fetch(client, "nobody", CHAMPION) is None


@pytest.fixture
def stored(tmp_path_factory, mlflow_address):
    """Find a file among the artifacts on the server's disk."""

    def find(run_id: str, name: str) -> Path:
        (path,) = tmp_path_factory.getbasetemp().glob(f"mlflow[0-9]*/artifacts/*/{run_id}/**/{name}")
        return path

    return find


def test_changed_exchanged_or_lost_bundle_is_refused(client, logged, stored):
    bundle, other = logged("stored"), logged("stored", "2", classes=("red", "blue"))
    register_run(client, bundle)
    paths = [stored(bundle.manifest.training.run_id, name) for name in ("model.onnx", "manifest.json")]
    paths[0].write_bytes(bundle.model + b"\0")
    with pytest.raises(RegistryError, match=r"is damaged \(model\.onnx: SHA-256 is"):
        fetch(client, "stored", CHALLENGER)
    for path in paths:
        path.write_bytes(stored(other.manifest.training.run_id, path.name).read_bytes())
    with pytest.raises(RegistryError, match="is not the registered one: its hash differs"):
        fetch(client, "stored", CHALLENGER)
    paths[0].unlink()
    with pytest.raises(RegistryError, match=r"is damaged \(model\.onnx: cannot be read"):
        fetch(client, "stored", CHALLENGER)


def test_incomplete_bundle_is_not_registered(client, logged, stored):
    bundle = logged("unsent")
    stored(bundle.manifest.training.run_id, "model.onnx").unlink()
    with pytest.raises(RegistryError, match="is damaged"):
        register_run(client, bundle)
    assert not client.search_registered_models("name = 'unsent'")


@pytest.fixture
def data(tmp_path) -> Dataset:
    """Test images with labels in the graph's order: red first."""
    found = scan(draw(tmp_path / "data", COLOURS, 70), progress=False)
    images = tuple(replace(image, label=1 - image.label, split="test") for image in found.images)
    return replace(found, classes=("red", "green"), images=images)


def mislabelled(data: Dataset) -> Dataset:
    return replace(data, images=tuple(replace(i, label=1 - i.label) for i in data.images))


def test_challenge_compares_with_the_registry_or_the_served_bundle(client, logged, data):
    right, wrong = data, mislabelled(data)
    first, second, third = (logged("submitted", version) for version in "123")
    assert submit(client, first, right, None).promoted
    assert fetch(client, "submitted", CHAMPION) == first
    # Both are always wrong, so the second is no worse.
    verdict = submit(client, second, wrong, None)
    assert verdict.promoted and verdict.champion.champion_accuracy == 0
    assert fetch(client, "submitted", CHAMPION) == second
    # Without a champion, a bundle that is always wrong stays challenger.
    alone = logged("alone")
    assert not submit(client, alone, wrong, None).promoted
    assert fetch(client, "alone", CHAMPION) is None and fetch(client, "alone", CHALLENGER) == alone
    # The served bundle is the champion until the registry has one.
    verdict = submit(client, third, right, first)
    assert verdict.champion.champion_accuracy == 1


def test_challenge_compares_with_both_if_they_differ(client, logged, data):
    stale, worse = (logged("stale", version, always_wrong=True) for version in "12")
    promote(client, "stale", register_run(client, stale).version)
    served = logged("stale", "3")
    verdict = submit(client, worse, data, served)
    assert not verdict.promoted and verdict.champion.champion_accuracy == 1
    assert fetch(client, "stale", CHAMPION) == stale


def test_served_bundle_counts_only_with_the_same_classes(tmp_path, data):
    assert served_bundle(tmp_path / "none", data) is None
    folder = bundles.write(tmp_path / "served", classes=["red", "green"])
    assert served_bundle(folder, data) == load(folder)
    assert served_bundle(bundles.write(tmp_path / "other"), data) is None
    (folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError):
        served_bundle(folder, data)


def test_commands_register_gate_fetch_and_list(client, mlflow_address, logged, tmp_path, capsys):
    address = ["--tracking-uri", mlflow_address]
    # The graph's first class is red, and classes of a folder are sorted.
    data = draw(tmp_path / "commands", {"a-red": COLOURS["red"], "b-green": COLOURS["green"]}, 150)
    for version in ("1", "2"):
        bundle = logged("commands", version, classes=("a-red", "b-green"))
        run = tmp_path / f"run-commands-{version}"
        assert main([*address, "register", str(run)]) == 0
        assert f"commands version {version} is the challenger." in capsys.readouterr().out
        assert main([*address, "gate", "--data", str(data), "--champion", str(tmp_path / "served")]) == 0
        out = capsys.readouterr().out
        assert "holds a model of other classes" not in out
        assert ("There is no champion of these classes yet" if version == "1" else "only the champion right") in out
        assert f"ml.registry fetch champion --name commands --to {tmp_path / 'served'}" in out
    to = tmp_path / "served"
    assert main([*address, "fetch", "champion", "--name", "commands", "--to", str(to)]) == 0
    assert "commands 2 (champion) is in" in capsys.readouterr().out
    assert load(to) == bundle
    assert main([*address, "list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("commands ")]
    assert sorted(rows) == [["commands", "1", "1"], ["commands", "2", "2", "challenger,", "champion"]]


def test_history_lists_champions_with_verdicts_and_images(
    client, mlflow_address, logged, data, tmp_path, capsys, engine
):
    address = ["--tracking-uri", mlflow_address]
    first, second = (logged("told", version) for version in ("m1", "m2"))
    submit(client, first, data, None)
    submit(client, second, data, None)
    assert main([*address, "publish", "--name", "told"]) == 0
    assert main([*address, "publish", "m1", "--name", "told"]) == 0
    promote(client, "told", "1")
    assert main([*address, "history", "--name", "told"]) == 0
    rows = capsys.readouterr().out.splitlines()[-6:]
    assert [row.split()[5:7] for row in rows[:4:2]] == [["1", "m1"], ["2", "m2"]]
    assert rows[4].split()[2:6] == ["to", "now", "1", "m1"]
    assert "There is no champion of these classes yet" in rows[0]
    assert "no worse than the champion" in rows[2] and "held-out images" in rows[2]
    assert rows[4].endswith("made champion without the gate")
    assert rows[1].split() == ["localhost/mlops/model:m1@sha256:0"]
    assert rows[3].split() == ["localhost/mlops/model:m2@sha256:0"]
    client.set_registered_model_alias("told", CHAMPION, "2")
    assert main([*address, "history", "--name", "told"]) == 0
    assert "by other means than ml.registry: version 2 is champion." in capsys.readouterr().out
    assert main([*address, "publish", "m3", "--name", "told"]) == 2
    assert "told has no version m3" in capsys.readouterr().err


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Let a program that only names an image's id stand for Podman."""
    program = tmp_path / "bin" / "podman"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nwhile [ "$1" != --iidfile ]; do shift; done\nprintf sha256:0 >"$2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ENGINE", "podman")


def test_gate_says_that_the_served_bundle_has_other_classes(client, mlflow_address, logged, tmp_path, capsys):
    data = draw(tmp_path / "other-classes", {"a-red": COLOURS["red"], "b-green": COLOURS["green"]}, 80)
    register_run(client, logged("other-classes", classes=("a-red", "b-green")))
    served = bundles.write(tmp_path / "served", classes=["red", "green"])
    command = ["gate", "--data", str(data), "--champion", str(served)]
    assert main(["--tracking-uri", mlflow_address, *command]) == 0
    assert f"{served} holds a model of other classes" in capsys.readouterr().out


def test_name_without_ascii_letters_is_registered_under_its_own(client, logged):
    first, second = logged("猫狗"), logged("Мои фото")
    names = {register_run(client, bundle).name for bundle in (first, second)}
    assert len(names) == 2
    assert [fetch(client, model_name(bundle.manifest.name), CHALLENGER) for bundle in (first, second)] == [
        first,
        second,
    ]


def test_commands_refuse_in_one_line(client, mlflow_address, logged, tmp_path, capsys):
    address = ["--tracking-uri", mlflow_address]

    def refused(*command: str) -> str:
        assert main([*address, *command]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "%|" not in line and line]
        return line

    for name in ("one", "two"):
        register_run(client, logged(name))
    assert "name one with --name" in refused("fetch", "champion", "--to", str(tmp_path / "to"))
    assert "one has no champion" in refused("fetch", "champion", "--name", "one", "--to", str(tmp_path / "to"))
    assert not (tmp_path / "to").exists()
    data = draw(tmp_path / "data", COLOURS, 20)
    assert "data has no challenger: train one, or name the model" in refused("gate", "--data", str(data))
    assert "they cannot be compared" in refused("gate", "--data", str(data), "--name", "one")
    assert "manifest.json: cannot be read" in refused("register", str(tmp_path))
    (tmp_path / "file").write_text("")
    promote(client, "one", "1")
    assert "The command failed" in refused("fetch", "champion", "--name", "one", "--to", str(tmp_path / "file" / "x"))
    assert main(["--tracking-uri", "http://127.0.0.1:1", "list"]) == 2
    assert "does not answer" in capsys.readouterr().err


def test_fetch_of_the_only_model_needs_no_name(tmp_path, capsys, logged, client, mlflow_address, monkeypatch):
    bundle = logged("only")
    promote(client, "only", register_run(client, bundle).version)
    found = client.search_registered_models("name = 'only'")
    monkeypatch.setattr("mlflow.MlflowClient.search_registered_models", lambda *_: found)
    assert main(["--tracking-uri", mlflow_address, "fetch", "champion", "--to", str(tmp_path / "to")]) == 0
    assert load(tmp_path / "to") == bundle
