"""Steps of the pipeline; test_train.py tests the whole command."""

import numpy as np

from ml.pipeline import evenly_spaced
from ml.training.loader import Pixels


def test_evenly_spaced_represents_every_class():
    images = object.__new__(Pixels)
    images.labels = np.arange(5000) // 1000  # sorted by class, as a data set's are
    images.pixels = np.broadcast_to(images.labels.astype(np.uint8)[:, None, None, None], (5000, 4, 4, 3))
    chosen = evenly_spaced(images, 64)
    assert chosen.shape == (64, 4, 4, 3) and set(chosen[:, 0, 0, 0].tolist()) == {0, 1, 2, 3, 4}
    images.labels, images.pixels = images.labels[:3], images.pixels[:3]
    assert len(evenly_spaced(images, 64)) == 3
