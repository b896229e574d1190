"""What the tests of training share: few threads, a patient MLflow client, and pictures that are easy to learn."""

import os
from pathlib import Path

# Before PyTorch is imported, and inherited by processes: its threads wait for each other at every layer, which on
# few, shared processors takes longer than the layer.
os.environ["OMP_NUM_THREADS"] = "1"

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image

from ml.data.dataset import Dataset
from ml.data.sample import sample
from ml.data.scan import scan
from ml.training.config import TrainingConfig
from ml.training.loader import Pixels
from tests import drawn_images as pictures

torch.set_num_threads(1)

COLOURS = {"blue": (40, 60, 200), "red": (200, 60, 40)}


@pytest.fixture(autouse=True)
def _mlflow_settings(monkeypatch: pytest.MonkeyPatch):
    """Give a busy machine's MLflow server time, and leave no trace of the client's settings in other tests."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        # Set first, so that what the code under test puts there is undone.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    mlflow.set_tracking_uri(None)


def draw(folder: Path, colours: dict[str, tuple[int, int, int]], pictures: int, seed: int = 0) -> Path:
    """Draw noisy pictures, one folder per colour; of a kind whose bytes no version of Pillow changes."""
    random = np.random.default_rng(seed)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for i in range(pictures):
            pixels = np.array(colour) * random.uniform(0.7, 1.2) + random.normal(0, 25, (40, 48, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i:03}.bmp")
    return folder


@pytest.fixture(scope="session")
def colours_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blue and red pictures, 70 of each."""
    return draw(tmp_path_factory.mktemp("data") / "colours", COLOURS, 70)


@pytest.fixture(scope="session")
def colours(colours_folder: Path) -> Dataset:
    """The scanned blue and red pictures."""
    return scan(colours_folder, progress=False)


@pytest.fixture(scope="session")
def recipe(colours: Dataset) -> TrainingConfig:
    """Settings with which the colours are learned in seconds."""
    return TrainingConfig(
        data_fingerprint=colours.fingerprint,
        architecture="resnet18_slim",
        size=32,
        train_size=32,
        epochs=4,
        batch=16,
    )


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def pixels(colours: Dataset, recipe: TrainingConfig, cache: Path) -> tuple[Pixels, Pixels]:
    """The decoded training and validation pictures."""
    return (
        Pixels(colours.split("train"), 40, recipe.resize, cache, "training pictures"),
        Pixels(colours.split("validation"), recipe.size, recipe.resize, cache, "validation pictures"),
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn circles and squares, 60 of each."""
    folder = tmp_path_factory.mktemp("drawn") / "shapes"
    sample(folder, pictures=120, progress=False)
    return folder


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """Two classes with a picture each."""
    folder = tmp_path / "pets"
    for seed, name in enumerate(("Cat", "Dog")):
        (folder / name).mkdir(parents=True)
        (folder / name / "good.jpg").write_bytes(pictures.noise(seed=seed))
    return folder
