"""Refuse JPEG files that take hours to decode: a few bytes can request another pass over the whole image."""

import re

# Encoders write about ten scans, and a dozen segments more than a colour profile takes (255).
MAX_SCANS = 50
MAX_SEGMENTS = 2000
MAX_EXIF = 4  # segments of 64 KiB; cameras write one. Pillow unpacks values of this block for a second per MB.

START = b"\xff\xd8"
SCAN = b"\xff\xda"
END = b"\xff\xd9"
EXIF = re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL)
SEQUENTIAL = (0xC0, 0xC1)
# Segments that every decoder skips by their length: Huffman and quantisation tables, restarts, applications', comments.
SKIPPED = (0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE)
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # markers with a length, and the end


def exceeds_limits(data: bytes) -> bool:
    """Return whether a JPEG has too many scans, EXIF segments, or other segments and stray bytes.

    Args:
        data: The file's bytes; files of other formats are within the limits.
    """
    if not data.startswith(START):
        return False
    # A cheap count is enough for most files. The walk is for files with markers inside, such as an embedded video.
    few_exif = len(EXIF.findall(data)) <= MAX_EXIF
    if few_exif and data.count(SCAN) <= MAX_SCANS and data.count(b"\xff", 0, data.rfind(SCAN)) <= MAX_SEGMENTS:
        return False
    scans = segments = exif = 0
    at = len(START)
    while scans <= MAX_SCANS and segments <= MAX_SEGMENTS and exif <= MAX_EXIF:
        found = MARKER.search(data, at)
        if not found or found[0] == END:
            return False
        # Pillow reads byte by byte between segments; behind the start of a scan there are pixels.
        segments += 1 if scans else 1 + found.start() - at
        scans += found[0] == SCAN
        exif += EXIF.match(data, found.start()) is not None
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2]))
    return True


def is_single_pass(data: bytes) -> bool:
    """Return whether a JPEG decodes row by row, which is cheap at a reduced scale.

    Others, such as progressive ones, are held in memory at full size. In doubt they count among these: every decoder
    must read the segments before the pixels as they are read here.
    """
    at, components = len(START), 0
    while data[at : at + 1] == b"\xff" and at + 10 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if data[at : at + 2] == SCAN:
            return data[at + 4] == components > 0
        if marker in SEQUENTIAL and not components:
            components = data[at + 9]
        elif marker not in SKIPPED or length < 2:
            return False
        at += 2 + length
    return False
