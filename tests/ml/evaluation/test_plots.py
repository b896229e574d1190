"""Plots are drawn for any number of classes, and for awkward names."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ml.data.dataset import LabelledImage
from ml.evaluation.evaluation import Evaluation
from ml.evaluation.plots import WORST, loss_curve, save_all, worst_mistakes
from ml.training.head import HeadResult
from ml.training.state import Epoch
from ml.training.trainer import TrainingResult

NAMES = {"loss_curve", "confusion_matrix", "roc", "reliability", "worst_mistakes"}
HISTORY = [Epoch(i, 1 / i, 0.5, 0.9 / i, 0.6, 100, 0.001) for i in (1, 2, 3)]
HEAD = HeadResult(torch.nn.Linear(2, 2), [0.4, 0.3], [0.5, 0.45], torch.zeros(0, 2), torch.zeros(0), 5)
RESULT = TrainingResult(HISTORY, {}, 3, "all epochs done", 0.1)


@pytest.fixture
def evaluation(tmp_path) -> Callable[..., Evaluation]:
    """Make an evaluation of some images; the answers for the first ``wrong`` are mistakes."""

    def make(classes: int = 2, images: int = 40, wrong: int = 5, name: str = "image") -> Evaluation:
        random = np.random.default_rng(0)
        labels = np.arange(images) % classes
        rows = random.dirichlet(np.ones(classes), images).astype(np.float32)
        for i, label in enumerate(labels):
            best = (label + 1) % classes if i < wrong else label
            top = rows[i].argmax()
            rows[i][[best, top]] = rows[i][[top, best]]
        path = tmp_path / f"{name}.png"
        Image.new("RGB", (40, 30), (200, 80, 20)).save(path)
        found = tuple(LabelledImage(path, int(label), "", "test") for label in labels)
        return Evaluation(found, labels, rows, tuple(f"class {i}" for i in range(classes)))

    return make


@pytest.mark.parametrize(
    ("classes", "name"), [(2, "a$x_{$b"), (4, "猫の写真"), (35, "-" * 200)], ids=["dollar", "script", "long"]
)
def test_save_all_draws_every_plot(classes, name, evaluation, tmp_path):
    paths = save_all(RESULT, evaluation(classes, images=80, name=name), tmp_path / "plots")
    assert {path.stem for path in paths} == NAMES
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and min(image.size) > 300 and max(image.size) < 2500
            assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 10


def test_save_all_without_mistakes_and_with_one_class(evaluation, tmp_path):
    perfect = evaluation(wrong=0)
    only = Evaluation(perfect.images[::2], perfect.labels[::2], perfect.probabilities[::2], perfect.classes)
    assert set(only.labels) == {0}
    assert len(save_all(replace(RESULT, history=[], head=HEAD), only, tmp_path / "plots")) == 5
    assert worst_mistakes(perfect).get_suptitle() == "No mistakes"


def test_worst_mistakes_are_the_most_confident_in_order(evaluation):
    found = evaluation(images=60, wrong=30)
    figure = worst_mistakes(found)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert figure.get_suptitle() == "The most confident of 30 mistakes" and len(titles) == WORST
    shown = [float(title.split()[2].rstrip("%,")) for title in titles]
    expected = sorted(found.confidences[~found.correct] * 100, reverse=True)[:WORST]
    assert shown == pytest.approx(expected, abs=0.06)
    assert all(axes.images[0].get_array()[0, 0].tolist() == [200, 80, 20] for axes in figure.axes if axes.get_title())


@pytest.mark.parametrize(
    ("result", "titles"),
    [
        (RESULT, ["whole network", "whole network"]),
        (replace(RESULT, history=[], head=HEAD), ["head alone"]),
        (replace(RESULT, head=HEAD), ["head alone", "whole network", "whole network"]),
    ],
    ids=["from scratch", "head", "fine-tuned"],
)
def test_loss_curve_shows_what_was_trained(result, titles):
    panels = loss_curve(result).axes
    assert [panel.get_title() for panel in panels] == titles
    curves = {line.get_label(): list(line.get_ydata()) for line in panels[0].lines}
    if result.head:
        assert curves == {"train": [0.4, 0.3], "validation": [0.5, 0.45]}
    else:
        assert curves["train"] == [1, 1 / 2, 1 / 3] and panels[1].get_ylabel() == "accuracy"
