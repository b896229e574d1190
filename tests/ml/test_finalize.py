"""What a training leaves; the rest is tested through the whole command."""

import numpy as np

from ml.finalize import PARITY_PICTURES, _some_of_each_class
from ml.training.loader import Pixels


def test_parity_is_checked_on_pictures_of_every_class():
    pictures = object.__new__(Pixels)
    pictures.labels = np.arange(5000) // 1000  # sorted by class, as a data set's are
    pictures.pixels = np.broadcast_to(pictures.labels.astype(np.uint8)[:, None, None, None], (5000, 4, 4, 3))
    chosen = _some_of_each_class(pictures, PARITY_PICTURES)
    assert chosen.shape == (PARITY_PICTURES, 4, 4, 3)
    assert set(chosen[:, 0, 0, 0].tolist()) == {0, 1, 2, 3, 4}
    pictures.labels, pictures.pixels = pictures.labels[:3], pictures.pixels[:3]
    assert len(_some_of_each_class(pictures, PARITY_PICTURES)) == 3
