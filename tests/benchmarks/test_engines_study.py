"""The study of inference engines: real runs of the repository's own, and the table."""

import dataclasses
import sys

import numpy as np
import pytest

from benchmarks.servers.environment import NotInstalledError
from benchmarks.studies.engines import __main__ as study
from benchmarks.studies.engines import engines
from benchmarks.studies.engines.engines import EAGER_PYTORCH, ONNX_RUNTIME, OPENVINO
from benchmarks.studies.engines.measure import measure, split
from bundle.load import load
from bundle.predictor import Predictor
from tests import bundles

PIXELS = np.random.default_rng(0).integers(0, 256, (3, bundles.SIZE, bundles.SIZE, 3), np.uint8)


def test_batches_are_full_and_hold_every_image():
    assert [batch[:, 0, 0, 0].tolist() for batch in split(PIXELS, 2)] == [
        PIXELS[:2, 0, 0, 0].tolist(),
        PIXELS[[2, 0], 0, 0, 0].tolist(),
    ]


def test_time_is_of_one_image(monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert measure(lambda pixels: pixels, PIXELS, batch=4, seconds=5) == 500 / 4


def test_onnx_runtime_is_the_services(bundle_folder):
    predict = engines.onnx_runtime(bundle_folder)
    np.testing.assert_array_equal(predict(PIXELS), Predictor(load(bundle_folder)).predict(PIXELS))


def test_eager_network_has_the_bundles_classes(bundle_folder, tmp_path):
    training = load(bundle_folder).manifest.training.model_dump() | {"architecture": "mobilenet_v3_small"}
    rows = engines.eager_pytorch(bundles.write(tmp_path, training=training))(PIXELS)
    assert rows.shape == (3, len(bundles.CLASSES)) and np.allclose(rows.sum(1), 1)


def test_engines_that_fail_are_named(bundle_folder, monkeypatch):
    def refuse(folder):
        assert (folder / "requirements.txt").exists()
        raise NotInstalledError("no network")

    monkeypatch.setattr(study, "python", refuse)
    unknown = dataclasses.replace(EAGER_PYTORCH, name="unknown", package="nothing")
    rows, left_out = study.compare((OPENVINO, unknown, ONNX_RUNTIME), bundle_folder, PIXELS, rounds=1, seconds=0.1)
    (row,) = rows
    assert row.engine is ONNX_RUNTIME and row.runs[0]["milliseconds"].keys() == set(study.BATCHES)
    np.testing.assert_allclose(row.probabilities, Predictor(load(bundle_folder)).predict(PIXELS))
    assert left_out.keys() == {"OpenVINO", "unknown"} and left_out["OpenVINO"] == "no network"
    assert "ValueError" in left_out["unknown"]


@pytest.fixture
def made_up(monkeypatch):
    """ONNX Runtime takes 5, 6 and 7 ms, all others 9."""

    def run(engine, *_):
        times = 5 + run.calls if engine is ONNX_RUNTIME else 9
        run.calls += engine is ONNX_RUNTIME
        probabilities = [[0.25, 0.75]] if engine is ONNX_RUNTIME else [[0.2501, 0.7499]]
        return {"version": "1.2", "milliseconds": {"1": times, "4": times / 2}, "probabilities": probabilities}

    run.calls = 0
    monkeypatch.setattr(study, "run", run)


def test_table_has_medians_and_differences(made_up, bundle_folder, tmp_path, monkeypatch):
    out = tmp_path / "folder" / "engines.md"
    arguments = ["--rounds", "3", "--most", "2", "--bundle", str(bundle_folder), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["engines", *arguments])
    study.main()
    text = out.read_text()
    assert "| ONNX Runtime, as in the service (1.2) | 6.0 (5.0 – 7.0) | 3.0 (2.5 – 3.5) |  |" in text
    assert "| OpenVINO (1.2) | 9.0 (9.0 – 9.0) | 4.5 (4.5 – 4.5) | 1.0e-04 |" in text
    assert "| eager PyTorch (1.2) | 9.0 (9.0 – 9.0) | 4.5 (4.5 – 4.5) | random weights |" in text
    assert text.startswith("# Comparison of inference engines") and "2 drawn images" in text
