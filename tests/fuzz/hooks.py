"""Tells schemathesis what a schema cannot: that not every row of bytes is a picture."""

import schemathesis
from hypothesis import strategies

from tests import drawn_images

PICTURES = strategies.sampled_from([make() for make in drawn_images.ACCEPTED.values()])

schemathesis.openapi.format("binary", PICTURES)
for media_type in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, PICTURES)
