"""Refuse TIFF files that take minutes or gigabytes to open or to decode."""

from bundle import exif
from bundle.jpeg_limits import MAX_SCANS, SCAN

# Pillow makes an object of each value, and of each strip or tile.
MAX_VALUES = 50_000
BYTES = (1, 2, 7)  # types whose values stay together
SUB_DIRECTORIES = (34665, 34853, 40965)  # EXIF, GPS, interoperability
COMPRESSION, TILE_WIDTH, TILE_HEIGHT = 259, 322, 323
NONE, JPEG = 1, 7
# Without WebP, LZMA and others, whose cost has no limit here.
COMPRESSIONS = {NONE, 2, 3, 4, 5, JPEG, 8, 32773, 32946}


def tile_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of the largest tile, 1 × 1 for strips; None for a TIFF beyond the limits.

    A tile is decoded as a whole, even where the image covers only a corner of it.
    """
    found = {COMPRESSION: {NONE}, TILE_WIDTH: {1}, TILE_HEIGHT: {1}}
    values, waiting = 0, [exif.first_directory(data)]
    for directory in waiting:
        for tag, kind, count, value in exif.entries(data, directory):
            values += 1 if kind in BYTES else count
            if values > MAX_VALUES or (tag in found and kind not in exif.INTEGERS):
                return None
            if tag in found:
                found[tag].add(exif.integer(data, kind, value))
            elif tag in SUB_DIRECTORIES and len(waiting) <= len(SUB_DIRECTORIES):
                waiting.append(exif.integer(data, kind, value))
    if not found[COMPRESSION] <= COMPRESSIONS or (JPEG in found[COMPRESSION] and data.count(SCAN) > MAX_SCANS):
        return None
    return max(found[TILE_WIDTH]), max(found[TILE_HEIGHT])
