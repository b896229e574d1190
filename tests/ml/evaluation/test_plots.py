"""The pictures of a run: drawn for any number of classes, and for awkward names."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from ml.data.dataset import LabelledImage
from ml.evaluation.metrics import Evaluation
from ml.evaluation.plots import WORST, save_all, worst_mistakes
from ml.training.epoch import Epoch

NAMES = {"loss_curve", "confusion_matrix", "roc", "reliability", "worst_mistakes"}
HISTORY = [Epoch(i, 1 / i, 0.5, 0.9 / i, 0.6, 100, 0.001) for i in (1, 2, 3)]


@pytest.fixture
def answers(tmp_path) -> Callable[..., Evaluation]:
    """Make an evaluation of some pictures, of which the first ``wrong`` are mistaken."""

    def make(classes: int, pictures: int = 40, wrong: int = 5, name: str = "picture") -> Evaluation:
        random = np.random.default_rng(0)
        labels = np.arange(pictures) % classes
        rows = random.dirichlet(np.ones(classes), pictures).astype(np.float32)
        for i, label in enumerate(labels):
            best = (label + 1) % classes if i < wrong else label
            top = rows[i].argmax()
            rows[i][[best, top]] = rows[i][[top, best]]
        path = tmp_path / f"{name}.png"
        Image.new("RGB", (40, 30), (200, 80, 20)).save(path)
        found = tuple(LabelledImage(path, int(label), "", "test") for label in labels)
        return Evaluation(found, labels, rows, tuple(f"class {i}" for i in range(classes)))

    return make


@pytest.mark.parametrize("classes", [2, 4, 35])
def test_every_plot_is_a_png_that_shows_something(classes, answers, tmp_path):
    paths = save_all(HISTORY, answers(classes, pictures=80), tmp_path / "plots")
    assert {path.stem for path in paths} == NAMES
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and min(image.size) > 300 and max(image.size) < 2500
            assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 10


def test_no_mistakes_at_all(answers, tmp_path):
    paths = save_all(HISTORY[:1], answers(2, wrong=0), tmp_path / "plots")
    assert len(paths) == 5
    assert worst_mistakes(answers(2, wrong=0)).get_suptitle() == "No mistakes"


def test_one_mistake_and_one_held_out_class(answers, tmp_path):
    one = answers(2, pictures=6, wrong=1)
    only = Evaluation(one.images[::2], one.labels[::2], one.probabilities[::2], one.classes)
    assert set(only.labels) == {0}
    assert len(save_all(HISTORY, only, tmp_path / "plots")) == 5


def test_the_worst_mistakes_come_first(answers):
    evaluation = answers(2, pictures=60, wrong=30)
    figure = worst_mistakes(evaluation)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert figure.get_suptitle() == "The most confident of 30 mistakes" and len(titles) == WORST
    shown = [float(title.split()[2].rstrip("%,")) for title in titles]
    wrong = ~evaluation.correct
    expected = sorted(evaluation.confidences[wrong] * 100, reverse=True)[:WORST]
    assert shown == pytest.approx(expected, abs=0.06)
    assert all(axes.images[0].get_array()[0, 0].tolist() == [200, 80, 20] for axes in figure.axes if axes.get_title())


@pytest.mark.parametrize("name", ["a$x_{$b", "猫の写真", "-" * 200])
def test_any_file_name_can_be_drawn(name, answers, tmp_path):
    assert len(save_all(HISTORY, answers(2, name=name), tmp_path / "plots")) == 5
