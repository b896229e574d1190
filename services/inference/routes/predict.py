"""POST /predict: images in, labels out."""

from http import HTTPStatus
from typing import Any

import numpy as np
from flask import Response, after_this_request, g, request
from flask_openapi3.blueprint import APIBlueprint
from numpy.typing import NDArray

from bundle import signals
from bundle.answer import to_answer
from bundle.manifest import Manifest
from bundle.preprocess import ImageError, count_pixels, decode
from services.inference.container.cgroups import cpu_limit
from services.inference.limits import ConcurrencyLimiter, UploadMemory
from services.inference.model import Model
from services.inference.model_queue import ModelQueue
from services.inference.problems import TOO_LARGE, Problem, image_problem
from services.inference.routes import BASE64, BINARY, REQUEST_ID, client_blueprint, request_body
from services.inference.schemas import Answer, problem
from services.inference.settings import Settings
from services.inference.telemetry import drift, prometheus
from services.inference.uploads import body

DOCUMENTED = {
    "parameters": [REQUEST_ID],
    "requestBody": request_body(
        "One or several images as a form or as JSON, or one image as the body.",
        {"type": "array", "items": BINARY, "minItems": 1},
        {"anyOf": [BASE64, {"type": "array", "items": BASE64, "minItems": 1}]},
    ),
}
RESPONSES: dict[str | int | HTTPStatus, Any] = {
    200: Answer,
    400: problem("No image was sent, or the upload is incomplete"),
    408: problem("The upload took too long"),
    413: problem("More bytes, images or pixels than one request may have"),
    415: problem("Not an image of an accepted format"),
    422: problem("The image is broken, truncated, or has too many pixels"),
    503: problem("Too many predictions at once, or no model is loaded; Retry-After names the seconds to wait"),
}


def create_queue(model: Model, settings: Settings) -> ModelQueue:
    """Create the queue for one model."""
    return ModelQueue(
        lambda images: _decode(images, model.require().manifest, settings.max_pixels),
        lambda pixels: signals.answer(model.require(), pixels),
        threads=max(1, cpu_limit() // settings.workers),
    )


def create_blueprint(model: Model, settings: Settings, queue: ModelQueue, memory: UploadMemory) -> APIBlueprint:
    """Create the route for one model and its limits."""
    limiter = ConcurrencyLimiter(settings.max_in_flight)
    recorder = drift.Recorder(model.predictor.manifest) if model.predictor else None
    routes = client_blueprint("predict", settings)

    @routes.post("/predict", summary="Classify images", responses=RESPONSES, openapi_extensions=DOCUMENTED)
    def predict() -> dict[str, Any]:
        """All or nothing: if one of several images cannot be read, the answer is a problem with its index."""
        manifest = model.require().manifest
        limiter.check()
        with memory.reserve() as take:
            images = body.read_images(settings, take)
            g.log_fields["pictures"] = len(images)
            with limiter.acquire():
                outputs = queue.predict(images)
        answers = _answers(manifest, outputs)

        @after_this_request  # the self-test is no request
        def count(response: Response) -> Response:
            assert recorder, "there is a model"
            recorder.record(answers, outputs.signals, drift.source_of(request))
            for answer in answers:
                prometheus.confidence.labels(answer["label"]).observe(answer["confidence"])
            return response

        about = {"name": manifest.name, "version": manifest.version}
        if len(answers) > 1:
            return {"predictions": answers, "model": about}
        g.log_fields["label"] = answers[0]["label"]
        return {**answers[0], "model": about}

    return routes


def _decode(images: list[bytes], manifest: Manifest, max_pixels: int) -> NDArray[np.uint8]:
    shape = manifest.input
    pixels = np.empty((len(images), shape.size, shape.size, 3), np.uint8)
    left = max_pixels
    for index, image in enumerate(images):
        try:
            if len(images) > 1:  # others wait for the whole request
                left -= count_pixels(image, shape.size, max_pixels)
                if left < 0:
                    detail = (
                        f"The images have over {max_pixels:,} pixels together. Send fewer at once, or smaller ones."
                    )
                    raise Problem(TOO_LARGE, detail)
            pixels[index] = decode(image, shape.size, shape.resize, max_pixels)
        except ImageError as error:
            raise image_problem(error, index if len(images) > 1 else None) from error
    return pixels


def _answers(manifest: Manifest, outputs: signals.Outputs) -> list[dict[str, Any]]:
    answers = [to_answer(manifest.classes, row) for row in outputs.probabilities]
    for index, answer in enumerate(answers):
        answer["uncertain"] = None if outputs.uncertain is None else bool(outputs.uncertain[index])
    return answers
