"""Refuses JPEG files that take hours to decode: a few bytes can ask for another walk over the whole picture."""

import re

# Encoders write about ten scans, and a dozen segments more than a colour profile takes (255).
MAX_SCANS = 50
MAX_SEGMENTS = 2000

START = b"\xff\xd8"
SCAN = b"\xff\xda"
END = b"\xff\xd9"
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # those with a length, and the end; what else there is, is data


def too_laborious(data: bytes) -> bool:
    """Whether a JPEG has more scans than ``MAX_SCANS``, or more segments and stray bytes than ``MAX_SEGMENTS``.

    Args:
        data: The file's bytes; what is no JPEG is not laborious.
    """
    if not data.startswith(START):
        return False
    # Next to nothing, and enough for most: the walk is for what has those bytes inside, such as a film at the end.
    if data.count(SCAN) <= MAX_SCANS and data.count(b"\xff", 0, data.rfind(SCAN)) <= MAX_SEGMENTS:
        return False
    scans = segments = 0
    at = len(START)
    while scans <= MAX_SCANS and segments <= MAX_SEGMENTS:
        found = MARKER.search(data, at)
        if not found or found[0] == END:
            return False
        # Pillow reads what is between segments byte by byte; behind the start of a scan it is the picture.
        segments += 1 if scans else 1 + found.start() - at
        scans += found[0] == SCAN
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2]))
    return True
