"""Batches for training: pictures decoded once into a file of pixels, augmented batch by batch."""

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import resized_crop
from tqdm import tqdm

from ml.data import DataError, Picture
from ml.model import normalise
from ml.recipe import Recipe
from services.inference import image
from services.inference.image import PictureError, Resize, decode

# Of random crops: Szegedy et al. 2015, "Going Deeper with Convolutions".
CROP_ASPECT = (3 / 4, 4 / 3)
JITTER = 0.3


class Pixels:
    """The decoded pictures of one split, kept in a memory-mapped file so that they need not fit in memory."""

    def __init__(self, pictures: Sequence[Picture], side: int, resize: Resize, cache: Path, name: str) -> None:
        """Decode the pictures, or find them decoded by an earlier run.

        Args:
            pictures: What to decode, in order.
            side: Side of the squares, pixels.
            resize: How a picture becomes a square.
            cache: Folder for the files of pixels.
            name: What the progress bar calls them.

        Raises:
            DataError: The cache folder's disk is too full.
            PictureError: A picture no longer decodes.
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


def _decode_all(pictures: Sequence[Picture], side: int, resize: Resize, path: Path, name: str) -> None:
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
    except PictureError as error:
        raise PictureError(f"{path}: {error} It was sound when the folder was scanned.") from error


def training_batches(
    data: Pixels, recipe: Recipe, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give one epoch of shuffled, augmented batches; the same generator state gives the same batches.

    Yields:
        Normalised pictures ``(batch, 3, train_size, train_size)`` and labels ``(batch,)``, on ``device``. The last,
        smaller batch is left out unless it is the only one, so that batch statistics stay comparable.
    """
    order = torch.randperm(len(data), generator=generator)
    for chosen in order.split(recipe.batch):
        if len(chosen) < recipe.batch <= len(data):
            return
        rows = np.sort(chosen.numpy())  # one pass through the file
        pixels = torch.from_numpy(data.pixels[rows]).permute(0, 3, 1, 2)
        crops = torch.stack([_random_crop(picture, recipe, generator) for picture in pixels])
        pictures = crops.to(device).permute(0, 2, 3, 1).to(torch.float32)
        pictures = normalise(_jitter(_flip(pictures, generator), generator))
        yield pictures.contiguous(memory_format=torch.channels_last), data.labels[rows].to(device)


def plain_batches(data: Pixels, batch: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the pictures in order, as they will be served: normalised ``(n, 3, side, side)`` and labels."""
    for start in range(0, len(data), batch):
        pixels = torch.from_numpy(data.pixels[start : start + batch].copy())
        pictures = normalise(pixels.to(device)).contiguous(memory_format=torch.channels_last)
        yield pictures, data.labels[start : start + batch].to(device)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _random_crop(picture: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    side, size = picture.shape[-1], recipe.train_size
    area = side * side * _uniform(recipe.crop, 1.0, generator)
    aspect = math.exp(_uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1]), generator))
    width = min(side, round(math.sqrt(area * aspect)))
    height = min(side, round(math.sqrt(area / aspect)))
    left = int(_uniform(0, side - width + 1, generator))
    top = int(_uniform(0, side - height + 1, generator))
    crop: Tensor = resized_crop(picture, top, left, height, width, [size, size], antialias=True)
    return crop


def _flip(pictures: Tensor, generator: torch.Generator) -> Tensor:
    flipped = torch.rand(len(pictures), generator=generator).to(pictures.device) < 0.5
    return torch.where(flipped[:, None, None, None], pictures.flip(2), pictures)


def _jitter(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Vary brightness, contrast and saturation of each picture by up to ``JITTER``."""
    factors = 1 + JITTER * (2 * torch.rand((3, len(pictures), 1, 1, 1), generator=generator) - 1)
    brightness, contrast, saturation = factors.to(pictures.device)
    pictures = pictures * brightness
    pictures = torch.lerp(pictures.mean((1, 2, 3), keepdim=True), pictures, contrast)
    grey = pictures.mean(3, keepdim=True)
    return torch.lerp(grey.expand_as(pictures), pictures, saturation).clamp_(0, 255)
