"""Batches for training: pictures decoded once into a file of pixels, augmented batch by batch."""

import hashlib
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from bundle import preprocess as image
from bundle.preprocess import ImageError, Resize, decode
from ml.data.dataset import DataError, LabelledImage
from ml.model.architectures import normalise
from ml.training.augmentation import augment, jitter
from ml.training.config import TrainingConfig

T = TypeVar("T")


class Pixels:
    """The decoded pictures of one split, kept in a memory-mapped file so that they need not fit in memory."""

    def __init__(self, pictures: Sequence[LabelledImage], side: int, resize: Resize, cache: Path, name: str) -> None:
        """Decode the pictures, or find them decoded by an earlier run.

        Args:
            pictures: What to decode, in order.
            side: Side of the squares, pixels.
            resize: How a picture becomes a square.
            cache: Folder for the files of pixels.
            name: What the progress bar calls them.

        Raises:
            DataError: The cache folder's disk is too full.
            ImageError: A picture no longer decodes.
            OSError: A picture cannot be read any more, or the cache folder cannot be written.
        """
        self.labels = torch.tensor([p.label for p in pictures])
        # The decoder's own code is part of the key: what another version of it decoded is not what is served.
        parts = [Path(image.__file__).read_text(), *(p.sha256 for p in pictures)]
        key = hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
        path = cache / f"{key}-{side}-{resize}.npy"
        if not path.exists():
            _decode_all(pictures, side, resize, path, name)
        self.pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.labels)


def _decode_all(pictures: Sequence[LabelledImage], side: int, resize: Resize, path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    shape = (len(pictures), side, side, 3)
    needed, free = math.prod(shape), shutil.disk_usage(path.parent).free
    if needed > free:
        # A disk that fills up behind a memory map ends the process without a word.
        raise DataError(
            f"{path.parent} needs {needed / 1e9:.1f} GB for decoded pictures and has {free / 1e9:.1f} GB: "
            "make room, or name another folder with --cache."
        )
    try:
        pixels = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
        decode_one = partial(_decode_one, side=side, resize=resize)
        # Pillow decodes without the interpreter's lock, and a process would have to import PyTorch first.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = pool.map(decode_one, [p.path for p in pictures])
            for i, square in enumerate(tqdm(results, f"decoding {name}", len(pictures), unit=" pictures")):
                pixels[i] = square
        pixels.flush()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _decode_one(path: Path, side: int, resize: Resize) -> NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), side, resize)
    except ImageError as error:
        raise ImageError(f"{path}: {error} It was sound when the folder was scanned.") from error


def training_batches(
    data: Pixels,
    recipe: TrainingConfig,
    side: int,
    generator: torch.Generator,
    device: torch.device,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give one epoch of shuffled, augmented batches; the same generator state gives the same batches.

    Args:
        data: The pictures.
        recipe: Settings.
        side: Of the squares, pixels.
        generator: Decides order and augmentation.
        device: Where the batches are to be.
        part: Which part of each batch to make, counted from 0, and of how many.

    Yields:
        Normalised pictures ``(batch, 3, side, side)`` and labels ``(batch,)``, on ``device``. The last, smaller batch
        is left out unless it is the only one, so that batch statistics stay comparable.
    """
    order = torch.randperm(len(data), generator=generator)
    # A picture's own seed: what is done to it does not depend on what is done to others.
    seeds = torch.randint(2**62, (len(data),), generator=generator).tolist()
    luck = torch.rand((len(data), 3), generator=generator)
    own = torch.Generator()
    for chosen in order.split(recipe.batch):
        if len(chosen) < recipe.batch <= len(data):
            return
        number, parts = part
        rows = chosen[number::parts].sort().values  # one pass through the file
        pixels = torch.from_numpy(data.pixels[rows.numpy()]).permute(0, 3, 1, 2)
        made = [
            augment(picture, side, recipe, own.manual_seed(seeds[row]))
            for row, picture in zip(rows.tolist(), pixels, strict=True)
        ]
        pictures = torch.stack(made).to(device).permute(0, 2, 3, 1).to(torch.float32)
        pictures = normalise(jitter(pictures, luck[rows]))
        yield pictures.contiguous(memory_format=torch.channels_last), data.labels[rows].to(device)


class Ahead(Generic[T]):
    """Takes from an iterator in a thread, some items ahead of who uses them.

    Attributes:
        busy: Seconds that the thread took to make the items so far.
        waited: Seconds that the user waited for them.
    """

    def __init__(self, items: Iterator[T], ahead: int = 4) -> None:
        self._items, self._ahead = items, ahead
        self.busy = self.waited = 0.0

    def __iter__(self) -> Iterator[T]:
        with ThreadPoolExecutor(1) as pool:
            coming = deque(pool.submit(self._next) for _ in range(self._ahead))
            while coming:
                start = time.perf_counter()
                item = coming.popleft().result()
                self.waited += time.perf_counter() - start
                if item is not None:
                    coming.append(pool.submit(self._next))
                    yield item

    def _next(self) -> T | None:
        start = time.perf_counter()
        try:
            return next(self._items, None)
        finally:
            self.busy += time.perf_counter() - start


def plain_batches(data: Pixels, batch: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the pictures in order, as they will be served: normalised ``(n, 3, side, side)`` and labels."""
    for start in range(0, len(data), batch):
        pixels = torch.from_numpy(data.pixels[start : start + batch].copy())
        pictures = normalise(pixels.to(device)).contiguous(memory_format=torch.channels_last)
        yield pictures, data.labels[start : start + batch].to(device)
