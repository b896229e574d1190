"""The start: settings, the processors there are, and bundles that cannot be served."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from services.inference import cpus, model, settings
from tests import bundles, servers
from tests import drawn_images as pictures
from tests.services.inference.serving import COMMAND, service, start_error


def test_defaults():
    found = settings.load({})
    assert (found.host, found.port, found.model_dir) == ("127.0.0.1", 8000, Path("models/champion"))
    assert found.workers == min(cpus.limit(), settings.MAX_DEFAULT_WORKERS) >= 1
    assert found.max_in_flight < found.threads


def test_an_empty_variable_is_an_unset_one():
    assert settings.load({"PORT": " ", "LOG_LEVEL": ""}) == settings.load({})


def test_every_setting_is_read(tmp_path):
    given = {
        **{"HOST": "::", "PORT": "81", "WORKERS": "3", "THREADS": "5", "MAX_IN_FLIGHT": "4", "MODEL_DIR": "/m"},
        **{"MAX_UPLOAD_BYTES": "1000", "MAX_PIXELS": "2000", "MAX_PICTURES": "6", "UPLOAD_TIMEOUT": "7"},
        **{"GRACEFUL_TIMEOUT": "8", "LOG_LEVEL": "DEBUG", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "new")},
        **{"DRAIN_FILE": str(tmp_path / "drain"), "API_KEYS_FILE": "/keys", "RATE_LIMIT": "60/minute"},
        **{"METRICS_PORT": "82", "TRUSTED_PROXIES": "10.0.0.7, fd00::/8"},
    }
    found = vars(settings.load(given))
    assert tuple(map(str, found.pop("trusted_proxies"))) == ("10.0.0.7/32", "fd00::/8")
    given |= {"LOG_LEVEL": "debug"}
    del given["TRUSTED_PROXIES"]
    assert {name.upper(): str(value) for name, value in found.items()} == given


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("PORT", "http", "1 to 65535"),
        ("PORT", "65536", "1 to 65535"),
        ("WORKERS", "0", "1 to 256"),
        ("THREADS", "1.5", "2 to 256"),
        ("MAX_UPLOAD_BYTES", "20MB", "whole number"),
        ("MAX_PIXELS", "-1", "1 to"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("HOST", "not a host", "127.0.0.1"),
        ("HOST", "192.0.2.1", "127.0.0.1"),  # an address, but for documentation only: no machine has it
        ("PROMETHEUS_MULTIPROC_DIR", "/dev/null/metrics", "written to"),
        ("DRAIN_FILE", "/nowhere/drain", "written to"),
        ("DRAIN_FILE", "/", "a file"),
        ("RATE_LIMIT", "60", "second, minute, hour, day"),
        ("RATE_LIMIT", "0/minute", "60/minute"),
        ("TRUSTED_PROXIES", "proxy.example", "10.0.0.7"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "host bits"),
        ("METRICS_PORT", "8000", "another port than PORT"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_right(name, value, right):
    with pytest.raises(settings.SettingsError, match=f"^{name} is '{value}'.*{right}"):
        settings.load({name: value})


def test_as_many_places_as_threads_would_silence_health():
    with pytest.raises(settings.SettingsError, match=r"MAX_IN_FLIGHT is 8.*THREADS \(8\)"):
        settings.load({"THREADS": "8", "MAX_IN_FLIGHT": "8"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("WORKERS", "many"), ("MAX_IN_FLIGHT", "255"), ("PORT", "0"), ("HOST", "256.1.1.1")],
        *[("HOST", "192.0.2.1"), ("PROMETHEUS_MULTIPROC_DIR", "/dev/null/metrics")],
    ],
)
def test_gunicorn_ends_at_once_with_one_sentence(tmp_path, name, value):
    status, said = start_error(tmp_path, **{name: value})
    assert status not in (0, None)
    assert said.replace("'", "").startswith(f"{name} is {value}, but must be ")
    assert said.endswith(".\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"own": "0::/a/b", "a/b/cpu.max": "400000 100000"}, 4),
        ({"own": "0::/a/b", "a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ({"own": "0::/a/b", "a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"}, 2),
        ({"own": "0::/a/b", "cpu.max": "200000 100000"}, 2),
        ({"own": "0::/../../x", "cpu.max": "200000 100000"}, 2),
        ({"own": "0::/", "cpu.max": "max 100000", "other/cpu.max": "100000 100000"}, None),
        (
            {"own": "4:cpuset:/c\n3:cpu,cpuacct:/a", "cpu/a/cpu.cfs_quota_us": "200000"}
            | {"cpu/a/cpu.cfs_period_us": "100000"},
            2,
        ),
    ],
)
def test_the_processors_are_those_of_the_mask_and_the_quota(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert cpus.limit(tmp_path, tmp_path / "own") == (expected or 16)


def damaged(folder):
    (folder / "model.onnx").write_bytes(b"not a graph")


def damaged_with_its_own_hash(folder):
    damaged(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model_sha256"] = hashlib.sha256(b"not a graph").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def changed(**fields):
    def change(folder):
        manifest = json.loads((folder / "manifest.json").read_text()) | fields
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return change


BAD_BUNDLES = {
    "no folder": (lambda folder: [file.unlink() for file in folder.iterdir()] and folder.rmdir(), "No such file"),
    "no model": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx"),
    "damaged model": (damaged, "SHA-256"),
    "not a graph": (damaged_with_its_own_hash, "not an ONNX graph"),
    "damaged manifest": (lambda folder: (folder / "manifest.json").write_bytes(b"\xff{"), "not JSON"),
    "future manifest": (changed(schema_version=2), "schema_version is 2"),
    "other classes": (changed(classes=["a", "b", "c"]), "do not belong together"),
    "the same class twice": (changed(classes=["a", "a", "b"]), "twice"),
    "other size": (changed(input={"size": 64, "resize": "stretch"}), "64 × 64"),
    "edges and shares that do not fit": (
        changed(reference={"predicted_classes": {}, "confidence_bins": [0.5, 1.0], "confidence_shares": [0.5, 0.5]}),
        "one edge more",
    ),
    "unknown resize": (changed(input={"size": 32, "resize": "fit"}), "input.resize"),
}


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_is_said_in_one_sentence_by_model_load(tmp_path, name):
    spoil, words = BAD_BUNDLES[name]
    folder = bundles.write(tmp_path / "model")
    spoil(folder)
    found = model.load(folder)
    assert found.predictor is None
    assert words in found.reason
    assert "\n" not in found.reason


def test_a_service_without_a_model_lives_and_says_why(tmp_path):
    folder = bundles.write(tmp_path / "model")
    damaged(folder)
    with service(tmp_path, MODEL_DIR=folder) as running:
        assert running.get("/health").json() == {"status": "alive"}
        for response in (running.get("/ready"), running.predict(pictures.plain())):
            assert response.status_code == 503
            assert response.headers["Content-Type"] == "application/problem+json"
            assert int(response.headers["Retry-After"]) > 1
            assert "SHA-256" in response.json()["detail"]
        assert "SHA-256" in running.get("/").text
        assert running.metric("model_ready") == 0
        assert running.metric("request_count_total", endpoint="/predict", status="503") == 1
        assert "Traceback" not in running.log.read_text()


def test_ready_names_the_model(shared):
    assert shared.get("/health").json() == {"status": "alive"}
    expected = {"name": "colours", "version": "1", "classes": ["red", "green", "blue"]}
    assert shared.get("/ready").json() == {"status": "ready", "model": expected, "refused": None}
    assert shared.metric("model_ready") == 1


def test_a_stopped_service_ends_well_and_leaves_nothing(bundle, tmp_path):
    """Nothing: neither the folder of counts, nor what onnxruntime keeps to report its use."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with service(tmp_path, MODEL_DIR=bundle, TMPDIR=temporary) as running:
        assert list(temporary.glob("inference-metrics-*"))
        running.predict(pictures.plain())
    assert running.process.returncode == 0
    assert not list(temporary.iterdir())


def test_a_taken_port_is_named(bundle, tmp_path):
    with service(tmp_path, MODEL_DIR=bundle) as running:
        log = tmp_path / "second.log"
        env = {"PORT": str(running.port), "MODEL_DIR": str(bundle)}
        with servers.running([sys.executable, *COMMAND], log, env) as second:
            assert second.wait(30) != 0
        assert f"127.0.0.1', {running.port}" in log.read_text(), log.read_text()
