import struct

import pytest
from PIL import Image

from bundle.preprocess import BrokenImageError, decode
from bundle.tiff_limits import MAX_VALUES, tile_size
from tests import drawn_images as images
from tests.fuzz import formats

TOO_MANY = MAX_VALUES + 1
EXPENSIVE = {
    "strips": lambda: formats.tiff((273, 3, TOO_MANY, 0)),
    "strips in two tags": lambda: formats.tiff((273, 3, TOO_MANY // 2, 0), (279, 3, TOO_MANY // 2 + 1, 0)),
    "fractions": lambda: formats.tiff((282, 5, TOO_MANY, 0)),
    "values of an unknown type": lambda: formats.tiff((700, 99, TOO_MANY, 0)),
    "values in the EXIF directory": lambda: formats.tiff((34665, 4, 1, 400), directory=[(37510, 5, TOO_MANY, 0)]),
    "an unusual compression": lambda: formats.tiff((259, 3, 1, 34925)),
    "a compression of an unusual type": lambda: formats.tiff((259, 9, 1, 8)),
    "a tile of an unusual type": lambda: formats.tiff((322, 9, 1, 60_000)),
    "scans in a JPEG": lambda: formats.tiff((259, 3, 1, 7)) + b"\xff\xda" * 99,
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_expensive_tiff_is_refused(name):
    data = EXPENSIVE[name]()
    assert tile_size(data) is None
    with pytest.raises(BrokenImageError, match=r"TIFF.*Save it as"):
        decode(data, 32, "stretch")


def test_directories_within_themselves_end():
    assert tile_size(formats.tiff((34665, 4, 1, 8), (34853, 4, 1, 8), (40965, 4, 1, 8))) == (1, 1)


def test_largest_of_two_tile_sizes_counts():
    assert tile_size(formats.tiff((322, 3, 1, 16), (323, 4, 1, 32), (322, 4, 1, 70_000))) == (70_000, 32)


def test_whole_tiles_count_as_pixels():
    data = formats.tiled_tiff((10, 10), (1000, 2000))
    with pytest.raises(BrokenImageError, match="at most 1,999,999"):
        decode(data, 32, "stretch", max_pixels=1_999_999)
    assert decode(data, 32, "stretch", max_pixels=2_000_000).shape == (32, 32, 3)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"])
def test_photo_in_a_usual_compression_is_decoded(compression):
    image = Image.new("1" if compression == "group4" else "RGB", (2000, 1500), 1)
    assert decode(images.encode(image, "TIFF", compression=compression), 32, "stretch").shape == (32, 32, 3)


def test_header_shorter_than_announced_is_broken():
    for data in (b"II*\0", struct.pack("<4sI", b"II*\0", 4), struct.pack("<4sIH", b"II*\0", 8, 9)):
        with pytest.raises(BrokenImageError):
            decode(data, 32, "stretch")
