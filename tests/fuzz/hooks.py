"""Make schemathesis send images, because a schema cannot tell them from other bytes."""

import base64

import schemathesis
from hypothesis import strategies

from tests import drawn_images

IMAGES = strategies.sampled_from([make() for make in drawn_images.ACCEPTED.values()])

schemathesis.openapi.format("binary", IMAGES)
schemathesis.openapi.format("byte", IMAGES.map(lambda image: base64.b64encode(image).decode()))
for media_type in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, IMAGES)
