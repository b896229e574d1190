"""Read images that are sent as text: base64, data URLs, and JSON with either."""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

from bundle.preprocess import SIGNATURES
from services.inference.problems import NO_IMAGE, TOO_LARGE, Problem

FIELD = "image"
HOW_TO = f'Send {{"{FIELD}": "<base64>"}}, with a list for several images.'
DATA_URL = re.compile(rb"data:[^,]{0,200};base64,", re.IGNORECASE)
URL_SAFE = bytes.maketrans(b"-_", b"+/")
JSON_START = re.compile(rb"(\xef\xbb\xbf)?\s*[{\[\"]")
# Base64 has none of these. Without a limit, 20 MB of brackets would become gigabytes of lists.
JSON_STRUCTURE = (b",", b"[", b"{")
MAX_STRUCTURE = 1000


def read_text(data: bytes) -> bytes:
    """Return the image in a data URL or in base64; other bytes stay as they are."""
    if SIGNATURES.match(data) or not data[:1000].isascii():
        return data
    try:
        image = _decode(data, "")
    except Problem:
        return data
    return image if SIGNATURES.match(image) or DATA_URL.match(data.lstrip()) else data


def is_json(body: bytes) -> bool:
    """Check the first character: no image and no base64 begins as JSON does."""
    return JSON_START.match(body) is not None


def read_json(body: bytes) -> list[bytes]:
    """Decode the images in ``{"image": …}``, or in the JSON that TensorFlow Serving and KServe take.

    Raises:
        Problem: The JSON is invalid, too complex, or has no base64 in a known place.
    """
    if sum(map(body.count, JSON_STRUCTURE)) > MAX_STRUCTURE:
        raise Problem(TOO_LARGE, f"The JSON has more than {MAX_STRUCTURE} values. {HOW_TO}")
    try:
        texts = list(_texts(json.loads(body)))
    except (ValueError, RecursionError) as error:
        raise Problem(NO_IMAGE, f"The body is not valid JSON ({type(error).__name__}). {HOW_TO}") from None
    if not texts:
        raise Problem(NO_IMAGE, f"The JSON has no text in the field '{FIELD}'. {HOW_TO}")
    about = f"The text in the field '{FIELD}'"
    return [
        _decode(text.encode("ascii", "replace"), about, index if len(texts) > 1 else None)
        for index, text in enumerate(texts)
    ]


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from _texts(each)
        case {"image": inner} | {"instances": inner} | {"image_bytes": inner} | {"b64": inner}:
            yield from _texts(inner)


def _decode(text: bytes, what: str, index: int | None = None) -> bytes:
    text = DATA_URL.sub(b"", b"".join(text.split()), count=1).translate(URL_SAFE).rstrip(b"=")
    try:
        image = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        detail = f"{what} is neither base64 nor a base64 data URL. Send the file's bytes, encoded as base64."
        raise Problem(NO_IMAGE, detail, index=index) from None
    if not image:
        raise Problem(NO_IMAGE, f"{what} is empty. Send the file's bytes, encoded as base64.", index=index)
    return image
