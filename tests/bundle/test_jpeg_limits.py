import pytest

from bundle.jpeg_limits import MAX_EXIF, MAX_SCANS, MAX_SEGMENTS, is_single_pass
from bundle.preprocess import BrokenImageError, decode
from tests import drawn_images as images
from tests.fuzz import formats

ENOUGH = 10_000
HIDDEN = b"\xff\x05\xff\xff"  # looks like the longest segment; a decoder continues after its first two bytes
EXIF = formats.segment(0xE1, b"Exif\0\0" + bytes(9))
EXPENSIVE = {
    "scans": lambda: formats.scans((64, 64), ENOUGH),
    "scans behind what looks like a segment": lambda: formats.scans((64, 64), ENOUGH).replace(
        b"\xff\xda", HIDDEN + b"\xff\xda"
    ),
    "empty segments": lambda: formats.jpeg(formats.segment(0xE5, b"") * ENOUGH),
    "segments without even a length": lambda: formats.jpeg(formats.segment(0xE5, b"", 0) * ENOUGH),
    "comments": lambda: formats.jpeg(formats.segment(0xFE, b"cat") * ENOUGH),
    "EXIF": lambda: formats.jpeg(EXIF * (MAX_EXIF + 1)),
    "fill bytes": lambda: formats.jpeg(b"\xff" * ENOUGH),
    "segments behind what looks like a scan": lambda: formats.jpeg(
        formats.segment(0xE1, b"\xff\xda") + formats.segment(0xE5, b"") * ENOUGH
    ),
}
SINGLE_PASS = {
    "plain": lambda: formats.jpeg(),
    "grey": lambda: formats.jpeg(mode="L"),
    "CMYK": lambda: formats.jpeg(mode="CMYK"),
    "segments": lambda: formats.jpeg(EXIF, formats.segment(0xFE, b"\xff\xc2"), formats.segment(0xE1, b"\xff\xda")),
    "a thumbnail": lambda: formats.jpeg(formats.segment(0xE1, b"Exif\0\0" + formats.jpeg(progressive=True))),
}
HELD = {
    "progressive": lambda: formats.jpeg(progressive=True),
    "an empty file": lambda: b"",
    "a signature": lambda: b"\xff\xd8\xff",
    "a scan before the frame": lambda: b"\xff\xd8" + formats.segment(0xDA, bytes(6)) + formats.jpeg()[2:],
    "a scan of one component of three": lambda: formats.jpeg().replace(b"\xff\xda\0\x0c\3", b"\xff\xda\0\x08\1"),
    "stray bytes before the frame": lambda: b"\xff\xd8" + b"\0" + formats.jpeg()[2:],
    "fill bytes before the frame": lambda: b"\xff\xd8" + b"\xff" + formats.jpeg()[2:],
    "a marker without a length": lambda: b"\xff\xd8\xff\xd0" + formats.jpeg()[2:],
    "arithmetic coding": lambda: formats.jpeg().replace(b"\xff\xc0", b"\xff\xc9"),
}
HARMLESS = {
    "as much EXIF as there may be": lambda: formats.jpeg(EXIF * MAX_EXIF),
    "EXIF in the images of a film behind its end": lambda: formats.jpeg() + formats.jpeg(EXIF) * 99,
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


@pytest.mark.parametrize("name", SINGLE_PASS)
def test_jpeg_that_decodes_row_by_row_is_known(name):
    assert is_single_pass(SINGLE_PASS[name]())


@pytest.mark.parametrize("name", HELD)
def test_jpeg_that_is_held_in_memory_is_known(name):
    assert not is_single_pass(HELD[name]())
