import struct

import pytest

from bundle import exif

ENTRY = {"<": b"II*\0", ">": b"MM\0*"}


def block(*entries, order=">", offset=8):
    """Write an EXIF block of entries (tag, type, count, value as bytes)."""
    table = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
    head = ENTRY[order] + struct.pack(f"{order}I", offset)
    return head.ljust(offset, b"\0") + struct.pack(f"{order}H", len(entries)) + table


@pytest.mark.parametrize("order", ENTRY)
@pytest.mark.parametrize(("kind", "code"), [(1, "B"), (3, "H"), (4, "I")])
@pytest.mark.parametrize("prefix", [b"", exif.PREFIX])
def test_orientation_is_read(order, kind, code, prefix):
    entries = (0x0100, 3, 1, b""), (exif.ORIENTATION, kind, 1, struct.pack(order + code, 6))
    for offset in (8, 50):
        assert exif.orientation(prefix + block(*entries, order=order, offset=offset)) == 6


def test_first_orientation_counts():
    assert exif.orientation(block(*[(exif.ORIENTATION, 3, 1, bytes([0, turned])) for turned in (3, 6)])) == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Exif\0\0",
        b"II*\0\xff\xff\xff\x7f" + b"\xee" * 40,
        b"MM\0*\0\0\0\0",
        block(),
        block((exif.ORIENTATION, 3, 1, b"\0\x09")),
        block((exif.ORIENTATION, 3, 1, b"\0\0")),
        block((exif.ORIENTATION, 5, 2_000_000, b"\0\0\0\x1a")),
        block((exif.ORIENTATION, 2, 4, b"6")),
        block((exif.ORIENTATION, 3, 1, b"\0\6"))[:-3],
    ],
)
def test_block_without_an_orientation_is_upright(data):
    assert exif.orientation(data) == 1
