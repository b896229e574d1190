"""A small network, and what a bundle needs besides."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle import manifest as sections
from bundle.load import Bundle
from ml.export.graph import export
from ml.export.serving_model import ServingModel
from ml.model.classifier import Classifier, build
from ml.model.residual import Residual
from ml.model.virtual_logit import VirtualLogit
from tests.ml.conftest import TINY

CLASSES = ["blue", "grün", "red"]
SIZE = 32
TEMPERATURE = 1.7
TRAINING = sections.Training(
    run_id="r1", git_commit=None, architecture=TINY, initial_weights="scratch", epochs=1, seed=0
)
DATASET = sections.Dataset(name="colours", source=None, synthetic=True, fingerprint="f", counts={}, left_out={})


@pytest.fixture(scope="session")
def network() -> Classifier:
    """A network whose batch statistics moved away from their neutral start."""
    torch.manual_seed(0)
    network = build(TINY, len(CLASSES), "scratch")
    for _ in range(20):
        network(torch.rand(16, 3, SIZE, SIZE) * 255)
    torch.nn.init.normal_(network.head.weight, std=0.3)
    return network.eval()


@pytest.fixture(scope="session")
def photos() -> np.ndarray:
    """Random pixels, brighter from image to image."""
    noise = np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE, 3))
    return (noise * np.linspace(0.2, 1, 20)[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="session")
def model(network: Classifier, photos: np.ndarray) -> ServingModel:
    """The network as served; its score knows every other image."""
    with torch.inference_mode():
        features = network.backbone(torch.from_numpy(photos).permute(0, 3, 1, 2).float())
        logits = network.head(features)
    residual = Residual(features[::2].clone())
    score = VirtualLogit(residual, residual(features[1::2]), logits[1::2])
    return ServingModel(network, SIZE, SIZE, TEMPERATURE, score).eval()


@pytest.fixture(scope="session")
def exported(model: ServingModel, photos: np.ndarray, cache: Path) -> Callable[[sections.Precision], Bundle]:
    """Export the model in a precision, once."""
    bundles: dict[str, Bundle] = {}

    def at(precision: sections.Precision) -> Bundle:
        if precision not in bundles:
            bundles[precision] = export(model, CLASSES, "center-crop", TRAINING, DATASET, photos, precision, cache)
        return bundles[precision]

    return at
