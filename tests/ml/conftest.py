"""Shared fixtures: few threads, a patient MLflow client, and images that are easy to learn."""

import argparse
import os
from pathlib import Path

# Before PyTorch is imported, and inherited by processes: on few shared processors its threads only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ml.data.dataset import Dataset
from ml.data.sample import sample
from ml.data.scan import scan
from ml.model.backbones import Backbone, build_backbone
from ml.model.names import BACKBONE
from ml.training.config import FROM_SCRATCH, TrainingConfig, add_arguments
from ml.training.features import extract
from ml.training.loader import Pixels
from tests import drawn_images

torch.set_num_threads(1)

# A network of timm for tests, with 400,000 parameters.
TINY = "test_resnet"
# Small enough to be quick, large enough for the pre-trained backbone to see shapes.
SIDE = 64

COLOURS = {"blue": (40, 60, 200), "red": (200, 60, 40)}


@pytest.fixture(autouse=True)
def _mlflow_settings(monkeypatch: pytest.MonkeyPatch):
    """Give the MLflow server of a busy machine time, and undo the client's settings."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        # Set first, so that monkeypatch undoes what the code under test sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    mlflow.set_tracking_uri(None)


def parse(*flags: str) -> argparse.Namespace:
    """Parse flags of a training's settings."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(flags)


def draw(folder: Path, colours: dict[str, tuple[int, int, int]], images: int, seed: int = 0) -> Path:
    """Draw noisy images, one folder per colour, in a format that every version of Pillow writes alike."""
    random = np.random.default_rng(seed)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for i in range(images):
            pixels = np.array(colour) * random.uniform(0.7, 1.2) + random.normal(0, 25, (40, 48, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i:03}.bmp")
    return folder


@pytest.fixture(scope="session")
def colours_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blue and red images, 70 of each."""
    return draw(tmp_path_factory.mktemp("data") / "colours", COLOURS, 70)


@pytest.fixture(scope="session")
def colours(colours_folder: Path) -> Dataset:
    """The scanned blue and red images."""
    return scan(colours_folder, progress=False)


@pytest.fixture(scope="session")
def config(colours: Dataset) -> TrainingConfig:
    """Settings that learn the colours in seconds, from scratch."""
    small = {"architecture": TINY, "weights": "scratch", "size": 32, "train_size": 32, "epochs": 4, "batch": 16}
    return TrainingConfig(colours.fingerprint, **{**FROM_SCRATCH, **small})


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def pixels(colours: Dataset, config: TrainingConfig, cache: Path) -> tuple[Pixels, Pixels]:
    """The decoded training and validation images."""
    return (
        Pixels(colours.split("train"), 40, config.resize, cache, "training images"),
        Pixels(colours.split("validation"), config.size, config.resize, cache, "validation images"),
    )


@pytest.fixture(scope="session")
def pretrained() -> Backbone:
    """The default backbone with its installed weights, for evaluation."""
    return build_backbone(BACKBONE, pretrained=True).eval()


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn circles and squares, 60 of each."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    sample(folder, images=120, progress=False)
    return folder


@pytest.fixture(scope="session")
def shapes(shapes_folder: Path) -> Dataset:
    """The scanned circles and squares."""
    return scan(shapes_folder, progress=False)


@pytest.fixture(scope="session")
def shape_pixels(shapes: Dataset, cache: Path) -> Pixels:
    """The decoded circles and squares."""
    return Pixels(shapes.images, SIDE, "center-crop", cache, "shapes")


@pytest.fixture(scope="session")
def shape_features(pretrained: Backbone, shape_pixels: Pixels) -> Tensor:
    """The pre-trained backbone's features of the circles and squares."""
    return extract(pretrained, shape_pixels, torch.device("cpu"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn circles and squares, 60 of each."""
    folder = tmp_path_factory.mktemp("drawn") / "shapes"
    sample(folder, images=120, progress=False)
    return folder


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """Two classes with an image each."""
    folder = tmp_path / "pets"
    for seed, name in enumerate(("Cat", "Dog")):
        (folder / name).mkdir(parents=True)
        (folder / name / "good.jpg").write_bytes(drawn_images.noise(seed=seed))
    return folder
