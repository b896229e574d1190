"""The study of the drift rules, on drawn answers and images."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.studies.drift import __main__ as study
from benchmarks.studies.drift.kinds import CHANGES, CLEAN, Pool
from benchmarks.studies.drift.windows import Windows
from bundle.manifest import Manifest
from bundle.signals import SIGNALS, Outputs
from ml.drift.rules import Comparison
from ml.evaluation.reference import reference
from tests import bundles
from tests.drawn_images import noise

CLASSES = ["cat", "dog"]


def pool(images, seed, darker=0.0):
    random = np.random.default_rng(seed)
    top = np.arange(images) % 2
    probabilities = np.where(np.eye(2)[top] > 0, 0.95, 0.05).astype(np.float32)
    signals = random.normal(size=(images, len(SIGNALS)))
    signals[:, 0] -= darker
    signals[:, 4:] = np.stack([probabilities.max(1), top], 1)
    answers = Outputs(probabilities, random.random(images) < 0.01, signals.astype(np.float32))
    return Pool([b""] * images, top, answers)


@pytest.fixture(scope="module")
def windows():
    known = pool(800, 0).answers
    values = reference(CLASSES, known.probabilities, known.signals, known.uncertain)
    manifest = bundles.manifest_for(b"", CLASSES, 32) | {"reference": values.model_dump()}
    pools = {CLEAN: pool(800, 1), "dark": pool(300, 2, darker=3)}
    return Windows(Comparison(Manifest.model_validate(manifest)), pools, windows=40)


def test_more_images_are_needed_where_fewer_of_them_changed(windows):
    all_changed, rules = windows.smallest("dark", 1)
    a_quarter, _ = windows.smallest("dark", 0.25)
    assert rules == ["brightness"] and 5 < all_changed < a_quarter < 1000


def test_clean_windows_do_not_alert(windows):
    assert windows.smallest(CLEAN, 1, sizes=(50, 200)) is None
    assert not +windows.alerts(CLEAN, 200)


def test_one_class_is_a_part_of_its_pool():
    part = pool(10, 3).of_label(1)
    assert part.labels.tolist() == [1] * 5 and len(part.files) == len(part.answers.signals) == 5
    assert part.accuracy == 1


@pytest.mark.parametrize("kind", CHANGES)
def test_changed_images_are_images_of_the_same_size_or_turned(kind):
    changed = Image.open(io.BytesIO(CHANGES[kind](noise())))
    assert changed.size == ((90, 120) if kind.startswith("turned") else (120, 90))


def test_tables_replace_what_is_between_their_comments(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- power -->\nold\n<!-- /power -->\nafter\n")
    monkeypatch.setattr(study, "PAGE", page)
    study.replace("power", "new \\1")
    assert page.read_text() == "before\n<!-- power -->\n\nnew \\1\n\n<!-- /power -->\nafter\n"
