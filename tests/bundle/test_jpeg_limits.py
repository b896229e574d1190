import pytest

from bundle.jpeg_limits import MAX_SCANS, MAX_SEGMENTS
from bundle.preprocess import BrokenImageError, decode
from tests import drawn_images as images
from tests.fuzz import formats

ENOUGH = 10_000
HIDDEN = b"\xff\x05\xff\xff"  # looks like the longest segment; a decoder continues after its first two bytes
EXPENSIVE = {
    "scans": lambda: formats.scans((64, 64), ENOUGH),
    "scans behind what looks like a segment": lambda: formats.scans((64, 64), ENOUGH).replace(
        b"\xff\xda", HIDDEN + b"\xff\xda"
    ),
    "empty segments": lambda: formats.jpeg(formats.segment(0xE5, b"") * ENOUGH),
    "segments without even a length": lambda: formats.jpeg(formats.segment(0xE5, b"", 0) * ENOUGH),
    "comments": lambda: formats.jpeg(formats.segment(0xFE, b"cat") * ENOUGH),
    "fill bytes": lambda: formats.jpeg(b"\xff" * ENOUGH),
    "segments behind what looks like a scan": lambda: formats.jpeg(
        formats.segment(0xE1, b"\xff\xda") + formats.segment(0xE5, b"") * ENOUGH
    ),
}
HARMLESS = {
    "ten scans": lambda: formats.jpeg(size=(64, 64), progressive=True),
    "a colour profile in 255 segments": lambda: formats.jpeg(formats.segment(0xE2, b"ICC_PROFILE\0\1\xff") * 255),
    "a thumbnail": lambda: formats.jpeg(formats.segment(0xE1, b"Exif\0\0" + images.noise()[:60_000])),
    "scans inside a segment": lambda: formats.jpeg(formats.segment(0xE1, b"\xff\xda" * 30_000)),
    "a film behind its end": lambda: formats.jpeg() + b"\xff\xda\xff" * ENOUGH,
    "restart markers": lambda: images.encode(images.Image.new("RGB", (2000, 2000)), "JPEG", restart_marker_blocks=1),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_expensive_jpeg_is_refused(name):
    with pytest.raises(BrokenImageError, match=f"{MAX_SCANS} scans or {MAX_SEGMENTS} segments"):
        decode(EXPENSIVE[name](), 32, "stretch")


@pytest.mark.parametrize("name", HARMLESS)
def test_jpeg_that_only_looks_expensive_is_decoded(name):
    assert decode(HARMLESS[name](), 32, "stretch").shape == (32, 32, 3)


def test_number_of_scans_is_limited_exactly():
    whole = formats.scans((64, 64), 0)
    allowed = MAX_SCANS - whole.count(b"\xff\xda")
    assert decode(formats.scans((64, 64), allowed), 32, "stretch").shape == (32, 32, 3)
    with pytest.raises(BrokenImageError):
        decode(formats.scans((64, 64), allowed + 1), 32, "stretch")
