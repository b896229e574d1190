"""POST /predict: pictures in, labels out."""

import contextlib
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import numpy as np
from flask import g
from flask_openapi3.openapi import OpenAPI
from numpy.typing import NDArray

from bundle.answer import to_answer
from bundle.predictor import Predictor
from bundle.preprocess import ImageError, decode
from services.inference import processors, uploads
from services.inference import telemetry as metrics
from services.inference.batching import Batcher
from services.inference.model import Model
from services.inference.problems import FULL, FULL_DETAIL, FULL_SECONDS, Problem, image_problem
from services.inference.schemas import Answer, problem
from services.inference.settings import Settings

ENDPOINT = "/predict"
HAND_OVER_SECONDS = 0.5

BINARY = {"type": "string", "format": "binary"}
FORM = {
    "type": "object",
    "properties": {uploads.FIELD: {"type": "array", "items": BINARY, "minItems": 1}},
    "required": [uploads.FIELD],
}
BODY = {
    "description": "One or several pictures as a form, or one picture as it is: JPEG, PNG, WebP, GIF or BMP.",
    "required": True,
    "content": {
        "multipart/form-data": {"schema": FORM},
        "image/*": {"schema": BINARY},
        "application/octet-stream": {"schema": BINARY},
    },
}
RESPONSES: dict[str | int | HTTPStatus, Any] = {
    200: Answer,
    400: problem("No picture was sent, or the upload broke off"),
    408: problem("The upload took too long"),
    413: problem("More bytes or pictures than one request may have"),
    415: problem("Not a picture, or a kind that is not accepted"),
    422: problem("The picture is broken, truncated, or has too many pixels"),
    503: problem("Too many predictions at once, or no model is loaded; Retry-After says when to try again"),
}


class Places:
    """How many predictions a worker takes on."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._places = threading.BoundedSemaphore(limit)

    def refuse(self) -> bool:
        """Whether a request is refused that asks now; ``one`` still has the last word on those that are not."""
        if self._places.acquire(blocking=False):
            self._places.release()
            return False
        return not uploads.deadlines.hurry()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Take a place for the block.

        Raises:
            Problem: All are taken.
        """
        if not (self._places.acquire(blocking=False) or self._take_from_the_slow()):
            metrics.shed.inc()
            raise Problem(FULL, FULL_DETAIL, retry_after=FULL_SECONDS)
        try:
            with metrics.in_flight.track_inprogress():
                yield
        finally:
            self._places.release()

    def _take_from_the_slow(self) -> bool:
        """Whoever sends a byte a second holds a place that many others could have."""
        return uploads.deadlines.hurry() and self._places.acquire(timeout=HAND_OVER_SECONDS)


def register(app: OpenAPI, model: Model, settings: Settings) -> None:
    """Add the route, for one model and its limits."""
    places = Places(settings.max_in_flight)
    batcher = Batcher(
        lambda pictures: _decode(pictures, model.require(), settings.max_pixels),
        lambda pixels: model.require().answer(pixels),
        processors.shared(),
    )
    app.extensions[ENDPOINT] = places

    @app.post(ENDPOINT, summary="Classify pictures", responses=RESPONSES, openapi_extensions={"requestBody": BODY})
    def predict() -> dict[str, Any]:
        """All or nothing: if one of several pictures cannot be read, the answer is a problem that names its index."""
        predictor = model.require()
        # Before the body is read: what will be refused is not worth its transfer, and UPLOAD_TIMEOUT ends slow ones.
        with places.one():
            pictures = uploads.pictures(settings)
            g.seen["pictures"] = len(pictures)
            rows, uncertain = batcher.answer(pictures)
        flags = [None] * len(rows) if uncertain is None else uncertain.tolist()
        return _answer(predictor, rows, flags)


def _decode(pictures: list[bytes], predictor: Predictor, max_pixels: int) -> NDArray[np.uint8]:
    shape = predictor.manifest.input
    pixels = np.empty((len(pictures), shape.size, shape.size, 3), np.uint8)
    for index, picture in enumerate(pictures):
        try:
            pixels[index] = decode(picture, shape.size, shape.resize, max_pixels)
        except ImageError as error:
            raise image_problem(error, index if len(pictures) > 1 else None) from error
    return pixels


def _answer(predictor: Predictor, rows: NDArray[np.float32], flags: list[bool | None]) -> dict[str, Any]:
    manifest = predictor.manifest
    classified = [to_answer(manifest.classes, row) | {"uncertain": flag} for row, flag in zip(rows, flags, strict=True)]
    for one in classified:
        metrics.predictions.labels(one["label"]).inc()
        metrics.confidence.labels(one["label"]).observe(one["confidence"])
    model = {"name": manifest.name, "version": manifest.version}
    if len(classified) > 1:
        return {"predictions": classified, "model": model}
    g.seen["label"] = classified[0]["label"]
    return {**classified[0], "model": model}
