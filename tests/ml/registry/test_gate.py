"""The gate, on bundles whose answers are chosen image by image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image

from bundle.load import Bundle, load
from bundle.manifest import CrossValidation, Manifest
from ml.data.dataset import Dataset, LabelledImage
from ml.registry.gate import SIGNIFICANCE, GateError, compare, gate, significant
from tests import bundles

CLASSES = ["a", "b"]
# The champion answers a if there is more red than green, the challenger if there is more red than blue.
COLOURS = {
    "both": (200, 50, 50),
    "champion": (100, 50, 200),
    "challenger": (100, 200, 50),
    "neither": (50, 200, 200),
}


@pytest.fixture(scope="module")
def champion(tmp_path_factory) -> Bundle:
    return load(bundles.write(tmp_path_factory.mktemp("champion"), classes=CLASSES))


@pytest.fixture(scope="module")
def challenger() -> Bundle:
    graph = bundles.graph(CLASSES, bundles.SIZE)
    (first,) = (tensor for tensor in graph.graph.initializer if tensor.name == "first")
    first.CopyFrom(numpy_helper.from_array(np.array([[1, 0], [0, 0], [0, 1]], np.float32), "first"))
    model = graph.SerializeToString()
    return Bundle(Manifest.model_validate(bundles.manifest_for(model, CLASSES, bundles.SIZE)), model)


@pytest.fixture
def held_out(tmp_path):
    """Make a data set of images of class a, by which bundle is right about them, and ``b`` images of class b."""

    def make(b: int = 0, split: str = "test", classes=tuple(CLASSES), **right: int) -> Dataset:
        images = []
        for who, count in right.items():
            path: Path = tmp_path / f"{who}.bmp"
            Image.new("RGB", (8, 8), COLOURS[who]).save(path)
            images += [LabelledImage(path, 0, "", split)] * count
        if b:
            Image.new("RGB", (8, 8), COLOURS["neither"]).save(tmp_path / "b.bmp")
            images += [LabelledImage(tmp_path / "b.bmp", 1, "", split)] * b
        return Dataset("letters", None, True, classes, tuple(images), (), "f")

    return make


@pytest.mark.parametrize(
    ("right", "promoted", "p_worse", "reason"),
    [
        ({"both": 950, "neither": 50}, True, 1, "The challenger is no worse than the champion."),
        ({"both": 998, "champion": 2}, True, 0.25, "The challenger is no worse than the champion."),
        # Exact and one-sided: 12 or 13 of 13.
        (
            {"both": 1487, "champion": 12, "challenger": 1},
            False,
            14 / 2**13,
            "The challenger is worse than the champion (p = 0.002 < 0.025).",
        ),
        (
            {"both": 57, "champion": 3},
            True,
            0.125,
            "The challenger is no worse than the champion. With 60 test images, a loss below 10% would go unnoticed.",
        ),
    ],
    ids=["equal", "small loss", "significantly worse", "few images"],
)
def test_gate_decides_by_mcnemar(right, promoted, p_worse, reason, challenger, champion, held_out):
    verdict = gate(challenger, champion, held_out(**right), progress=False)
    assert (verdict.promoted, verdict.reason) == (promoted, reason)
    assert verdict.champion.p_worse == pytest.approx(p_worse)


def test_verdict_table_has_the_numbers(challenger, champion, held_out):
    verdict = gate(challenger, champion, held_out(both=40, challenger=7, champion=1, neither=2), progress=False)
    assert verdict.promoted
    table = " ".join(verdict.table().split())
    assert table.startswith(
        "held-out images 50 challenger 94.00% champion 82.00% only the challenger right 7 only the champion right 1 "
        "p (challenger is worse) 0.996 class a (50) 94.0%, champion 82.0%, p 0.996 dark images"
    )
    assert "verdict promoted The challenger is no worse than the champion." in table


def test_loss_on_a_class_is_refused_though_the_whole_gains(challenger, champion, held_out, tmp_path):
    data = held_out(both=500, champion=14)
    Image.new("RGB", (8, 8), COLOURS["champion"]).save(tmp_path / "won.bmp")
    # Of class b, on which the champion is wrong: the challenger wins more there than it loses on class a.
    won = [LabelledImage(tmp_path / "won.bmp", 1, "", "test")] * 40
    verdict = gate(challenger, champion, replace(data, images=data.images + tuple(won)), progress=False)
    assert verdict.champion.p_worse > 0.99 and not verdict.promoted
    assert "worse than the champion on class a" in verdict.reason and "though not on all images" in verdict.reason
    assert verdict.slices["class b"].p_worse == 1


@pytest.mark.parametrize("images", [60, 2000])
def test_equal_models_are_refused_in_at_most_5_percent(images):
    """200 pairs of equally good models whose mistakes differ by chance, on classes and slices that overlap."""
    random = np.random.default_rng(0)
    labels, dark, blurred = random.random((3, images)) < np.array([[0.5], [0.2], [0.2]])
    refused = 0
    for _ in range(200):
        hard = random.random(images) < 0.1
        ours, theirs = (~hard | (random.random(images) < 0.5) for _ in range(2))
        chosen = {"a": labels, "b": ~labels, "dark": dark, "blurred": blurred}
        slices = {name: compare(ours[some], theirs[some]).p_worse for name, some in chosen.items()}
        whole = compare(ours, theirs).p_worse
        refused += whole < SIGNIFICANCE / 2 or bool(significant(slices, SIGNIFICANCE / 2))
    assert refused <= 10


def test_holm_rejects_in_order():
    assert significant({"a": 0.02, "b": 0.001, "c": 0.9}, 0.05) == ["b", "a"]
    assert significant({"a": 0.03, "b": 0.02, "c": 0.9}, 0.05) == []


def test_first_champion_must_beat_the_most_common_class(challenger, held_out):
    good = gate(challenger, None, held_out(both=20, b=20), progress=False)
    assert good.promoted is True and good.challenger_accuracy == 1 and good.champion is None
    assert "is better than the most common class" in good.table() and "\n  champion" not in good.table()
    # Always correct, but so would be a constant answer.
    trivial = gate(challenger, None, held_out(both=40), progress=False)
    assert not trivial.promoted and "is not shown to be better" in trivial.reason
    few = gate(challenger, None, held_out(both=2, b=2), progress=False)
    assert not few.promoted and "5 images, all classified correctly, would do; this set has 4." in few.reason
    bad = gate(challenger, None, held_out(neither=20, b=20), progress=False)
    assert not bad.promoted and bad.challenger_accuracy == 0.5


@pytest.mark.parametrize(
    ("accuracy", "fingerprint", "promoted"), [(0.95, "f", True), (0.6, "f", False), (0.95, "other", False)]
)
def test_cross_validated_answers_count_for_the_first_champion(challenger, held_out, accuracy, fingerprint, promoted):
    data = held_out(both=1, b=1)
    data = replace(data, images=data.images * 10)
    estimate = CrossValidation(pictures=18, folds=5, accuracy=accuracy, accuracy_ci95=(0.5, 1))
    dataset = challenger.manifest.dataset.model_copy(update={"fingerprint": fingerprint})
    manifest = challenger.manifest.model_copy(update={"cross_validation": estimate, "dataset": dataset})
    few = replace(data, images=tuple(replace(image, split="train") for image in data.images[2:]) + data.images[:2])
    verdict = gate(replace(challenger, manifest=manifest), None, few, progress=False)
    assert verdict.promoted is promoted and verdict.images == 2
    assert ("18 cross-validated answers count" in verdict.reason) is (fingerprint == "f")


def test_data_without_test_images_is_refused(challenger, champion, held_out):
    with pytest.raises(GateError, match="letters has no held-out images"):
        gate(challenger, champion, held_out(both=5, split="train"), progress=False)


@pytest.mark.parametrize(("role", "order"), [("challenger", 0), ("champion", 1)])
def test_bundle_of_other_classes_is_refused(role, order, challenger, tmp_path, held_out):
    other = load(bundles.write(tmp_path / "other", classes=["a", "c"]))
    pair = (other, None) if order == 0 else (challenger, other)
    with pytest.raises(
        GateError, match=f"The {role} has the classes a, c, but the data has a, b: they cannot be compared"
    ):
        gate(*pair, held_out(both=5), progress=False)
