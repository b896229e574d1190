"""Refuse JPEG files that take hours to decode: a few bytes can request another pass over the whole image."""

import re

# Encoders write about ten scans, and a dozen segments more than a colour profile takes (255).
MAX_SCANS = 50
MAX_SEGMENTS = 2000

START = b"\xff\xd8"
SCAN = b"\xff\xda"
END = b"\xff\xd9"
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # markers with a length, and the end


def exceeds_limits(data: bytes) -> bool:
    """Return whether a JPEG has more scans than ``MAX_SCANS``, or more segments and stray bytes than ``MAX_SEGMENTS``.

    Args:
        data: The file's bytes; files of other formats are within the limits.
    """
    if not data.startswith(START):
        return False
    # A cheap count is enough for most files. The walk is for files with markers inside, such as an embedded video.
    if data.count(SCAN) <= MAX_SCANS and data.count(b"\xff", 0, data.rfind(SCAN)) <= MAX_SEGMENTS:
        return False
    scans = segments = 0
    at = len(START)
    while scans <= MAX_SCANS and segments <= MAX_SEGMENTS:
        found = MARKER.search(data, at)
        if not found or found[0] == END:
            return False
        # Pillow reads byte by byte between segments; behind the start of a scan there are pixels.
        segments += 1 if scans else 1 + found.start() - at
        scans += found[0] == SCAN
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2]))
    return True
