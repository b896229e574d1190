"""Read the orientation in an EXIF block. Pillow unpacks all values of a tag, which takes a minute for 20 MB of them."""

import struct
from collections.abc import Iterator
from typing import Literal

BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
ENTRY_SIZE = 12
PREFIX = b"Exif\0\0"
ORIENTATION = 0x0112
INTEGERS = {1: 1, 3: 2, 4: 4}  # types that fit into an entry, and their bytes


def first_directory(tiff: bytes) -> int:
    """Return the offset of the first directory; 0 for a block that is no TIFF."""
    return int.from_bytes(tiff[4:8], BYTE_ORDERS[tiff[:4]]) if tiff[:4] in BYTE_ORDERS else 0


def entries(tiff: bytes, directory: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield tag, type, count, and the 4 bytes of the value or its offset, for each entry of a directory.

    Args:
        tiff: A TIFF file, or an EXIF block, which is one.
        directory: Offset of the directory; 0 for none.
    """
    if not directory:
        return
    order = BYTE_ORDERS[tiff[:4]]
    start = directory + 2
    count = int.from_bytes(tiff[directory:start], order)
    whole = min(count, max(0, len(tiff) - start) // ENTRY_SIZE)
    table = tiff[start : start + whole * ENTRY_SIZE]
    yield from struct.iter_unpack(("<" if order == "little" else ">") + "HHI4s", table)


def integer(tiff: bytes, kind: int, value: bytes) -> int:
    """Return the first integer in an entry; 0 for other types."""
    return int.from_bytes(value[: INTEGERS.get(kind, 0)], BYTE_ORDERS[tiff[:4]])


def orientation(block: bytes) -> int:
    """Return the orientation, 1 to 8; 1 (upright) where it is missing or invalid."""
    tiff = block.removeprefix(PREFIX)
    found = (
        integer(tiff, kind, value) for tag, kind, _, value in entries(tiff, first_directory(tiff)) if tag == ORIENTATION
    )
    turned = next(found, 1)
    return turned if 1 <= turned <= 8 else 1
