"""Compute the features of images once, and cache them."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ml.atomic import whole_file
from ml.model.backbones import Backbone
from ml.model.onnx_graph import session
from ml.model.pixel_features import FEATURES, PIXELS, central_square, fingerprint, pixel_features_graph
from ml.training.loader import Pixels, plain_batches

BATCH = 8


def extract(backbone: Backbone, images: Pixels, device: torch.device) -> Tensor:
    """Compute the features ``(n, features)`` of images, or find them beside the decoded images.

    Raises:
        OSError: The cache cannot be written.
    """
    path = images.path.with_suffix(f".{fingerprint(backbone)}-{images.seen}.npy")
    if not path.exists():
        batches = _on_cpu(backbone, images) if device.type == "cpu" else _on_device(backbone, images, device)
        parts = []
        with tqdm(total=len(images), desc=f"features of {images.name}", unit=" images") as bar:
            for part in batches:
                parts.append(part)
                bar.update(len(part))
        with whole_file(path, shared=True) as file:
            np.save(file, np.concatenate(parts))
    return torch.from_numpy(np.load(path))


def _on_cpu(backbone: Backbone, images: Pixels) -> Iterator[NDArray[np.float32]]:
    model = session(pixel_features_graph(backbone, images.side, images.seen, images.path.parent).SerializeToString())

    def compute(start: int) -> NDArray[np.float32]:
        (features,) = model.run([FEATURES], {PIXELS: images.batch(start, start + BATCH)})
        return np.asarray(features, np.float32)

    # One thread a batch: threads that share a batch wait for each other, which is slow where others compute too.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(compute, range(0, len(images), BATCH))


def _on_device(backbone: Backbone, images: Pixels, device: torch.device) -> Iterator[NDArray[np.float32]]:
    # Not in inference mode: weights that are moved in it cannot be trained.
    backbone.to(device).to(memory_format=torch.channels_last).eval()
    for batch, _ in plain_batches(images, device):
        with torch.inference_mode():
            features = backbone(central_square(batch, images.seen)).float().cpu()
        yield features.numpy()
