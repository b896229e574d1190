"""Load batches: images are decoded once into a cache file, then augmented batch by batch."""

import hashlib
import inspect
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

from bundle import exif, image_file, preprocess
from bundle.preprocess import ImageError, Resize, decode
from ml.data.dataset import DataError, LabelledImage
from ml.training import augmentation
from ml.training.augmentation import augment, jitter
from ml.training.config import TrainingConfig

T = TypeVar("T")

EVALUATION_BATCH = 64
# Training images are cached larger than the network's input, so that a random crop keeps its resolution.
CACHE_MARGIN = 1.25


class Pixels:
    """The decoded images of one split, in a memory-mapped file so that they need not fit in memory."""

    def __init__(
        self,
        images: Sequence[LabelledImage],
        side: int,
        resize: Resize,
        cache: Path,
        name: str,
        seen: int | None = None,
    ) -> None:
        """Decode the images to squares of ``side`` pixels, or reuse the cache file of an earlier run.

        ``name`` is for the progress bar. A network sees the central square of ``seen`` pixels, by default all of it.

        Raises:
            DataError: The disk of the cache folder is too full.
            ImageError: An image no longer decodes.
            OSError: An image cannot be read any more, or the cache folder cannot be written.
        """
        self.labels = torch.tensor([image.label for image in images])
        self.groups = [image.group for image in images]
        self.name = name
        # The decoder's source is part of the key: a changed decoder must not reuse the pixels of the old one.
        sources = [inspect.getsource(module) for module in (preprocess, image_file, exif)]
        parts = [*sources, *(image.sha256 for image in images)]
        key = hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
        self.path = cache / f"{key}-{side}-{resize}.npy"
        if not self.path.exists():
            _decode_all(images, side, resize, self.path, name)
        self.pixels: NDArray[np.uint8] = np.load(self.path, mmap_mode="r")
        self.seen = seen or side

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def side(self) -> int:
        """The side of the images in pixels."""
        return int(self.pixels.shape[1])

    def batch(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return images as RGB pixels, shape ``(n, side, side, 3)``."""
        return np.array(self.pixels[start:stop])


class AugmentedPixels(Pixels):
    """One augmented view of each image of a split, made when it is needed."""

    def __init__(self, images: Pixels, config: TrainingConfig) -> None:
        """Augment images as configured, to squares of ``config.size`` pixels.

        Args:
            images: Decoded at a side of at least ``config.size``.
            config: The settings; its seed gives the same views again.
        """
        self.labels, self.groups, self.name = images.labels, images.groups, f"augmented {images.name}"
        self.pixels, self.seen, self._config = images.pixels, config.size, config
        settings = config.size, config.crop, config.rotation, config.degrade, config.grey, config.erase, config.seed
        key = repr(settings) + inspect.getsource(augmentation)  # as in Pixels
        self.path = images.path.with_suffix(f".{hashlib.sha256(key.encode()).hexdigest()[:8]}.npy")

    @property
    def side(self) -> int:
        """The side of the views in pixels."""
        return self._config.size

    def batch(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return views as RGB pixels, shape ``(n, side, side, 3)``."""
        views = []
        for row in range(start, min(stop, len(self))):
            generator = torch.Generator().manual_seed(self._config.seed * 1_000_003 + row)
            image = torch.from_numpy(np.array(self.pixels[row])).permute(2, 0, 1)
            view = augment(image, self.side, self._config, generator).permute(1, 2, 0).to(torch.float32)
            views.append(jitter(view[None], torch.rand((1, 3), generator=generator))[0])
        return torch.stack(views).round().to(torch.uint8).numpy()


def _decode_all(images: Sequence[LabelledImage], side: int, resize: Resize, path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    shape = (len(images), side, side, 3)
    needed, free = math.prod(shape), shutil.disk_usage(path.parent).free
    if needed > free:
        # A disk that fills up behind a memory map kills the process without a message.
        raise DataError(
            f"{path.parent} needs {needed / 1e9:.1f} GB for decoded images and has {free / 1e9:.1f} GB: "
            "free some space, or name another folder with --cache."
        )
    try:
        pixels = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
        decode_one = partial(_decode_one, side=side, resize=resize)
        # Threads, since Pillow decodes without the GIL and each process would have to import PyTorch.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = pool.map(decode_one, [image.path for image in images])
            for i, square in enumerate(tqdm(results, f"decoding {name}", len(images), unit=" images")):
                pixels[i] = square
        pixels.flush()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _decode_one(path: Path, side: int, resize: Resize) -> NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), side, resize)
    except ImageError as error:
        raise ImageError(f"{path}: {error} It was valid when the folder was scanned.") from error


def training_batches(
    data: Pixels,
    config: TrainingConfig,
    side: int,
    generator: torch.Generator,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    threads: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of shuffled, augmented batches; the same generator state gives the same batches.

    Of ``world_size`` processes that share each batch, each takes every ``world_size``-th image. It augments as many
    images at once as it has ``threads``.

    Yields:
        Images ``(batch, 3, side, side)`` from 0 to 255 and labels ``(batch,)``, on ``device``. The batches of an epoch
        have the same size, or one image less, so that none has too few for batch statistics.
    """
    order = torch.randperm(len(data), generator=generator)
    # A seed for each image makes its augmentation independent of the others.
    seeds = torch.randint(2**62, (len(data),), generator=generator).tolist()
    jitter_strength = torch.rand((len(data), 3), generator=generator)

    def augmented(row: int, image: Tensor) -> Tensor:
        return augment(image, side, config, torch.Generator().manual_seed(seeds[row]))

    with ThreadPoolExecutor(threads) as pool:
        for chosen in order.tensor_split(steps_per_epoch(len(data), config.batch, world_size)):
            rows = chosen[rank::world_size].sort().values  # sorted: one pass through the file
            pixels = torch.from_numpy(data.pixels[rows.numpy()]).permute(0, 3, 1, 2)
            images = torch.stack([*pool.map(augmented, rows.tolist(), pixels)])
            images = images.to(device).permute(0, 2, 3, 1).to(torch.float32)
            images = jitter(images, jitter_strength[rows]).permute(0, 3, 1, 2)
            yield images.contiguous(memory_format=torch.channels_last), data.labels[rows].to(device)


def steps_per_epoch(images: int, batch: int, processes: int = 1) -> int:
    """Return the number of batches that hold all images; none has fewer than two images, or than processes."""
    return max(1, min(-(-images // batch), images // max(2, processes)))


class Prefetcher(Generic[T]):
    """An iterable that takes items from an iterator in a thread, some items ahead.

    ``busy`` is the thread's working time in seconds, ``waited`` the consumer's waiting time.
    """

    def __init__(self, items: Iterator[T], ahead: int = 4) -> None:
        self._items, self._ahead = items, ahead
        self.busy = self.waited = 0.0

    def __iter__(self) -> Iterator[T]:
        with ThreadPoolExecutor(1) as pool:
            pending = deque(pool.submit(self._next) for _ in range(self._ahead))
            while pending:
                start = time.perf_counter()
                item = pending.popleft().result()
                self.waited += time.perf_counter() - start
                if item is not None:
                    pending.append(pool.submit(self._next))
                    yield item

    def _next(self) -> T | None:
        start = time.perf_counter()
        try:
            return next(self._items, None)
        finally:
            self.busy += time.perf_counter() - start


def plain_batches(data: Pixels, device: torch.device, batch: int = EVALUATION_BATCH) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images in order and unchanged, as served: ``(n, 3, side, side)`` from 0 to 255, and labels."""
    for start in range(0, len(data), batch):
        pixels = torch.from_numpy(data.batch(start, start + batch))
        images = pixels.to(device).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
        yield images, data.labels[start : start + batch].to(device)
