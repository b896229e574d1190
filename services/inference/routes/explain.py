"""POST /explain: one image in; its label, and a map of the parts on which the label depends, out."""

from typing import Any

import gevent
from flask import g
from flask_openapi3.blueprint import APIBlueprint
from gevent.lock import Semaphore

from bundle.answer import DECIMALS, to_answer
from services.inference import occlusion
from services.inference.limits import UploadMemory
from services.inference.model import Model
from services.inference.model_queue import ModelQueue
from services.inference.problems import FULL, TOO_LARGE, Problem
from services.inference.routes import BASE64, BINARY, REQUEST_ID, client_blueprint, request_body
from services.inference.routes.predict import RESPONSES
from services.inference.schemas import Explanation, problem
from services.inference.settings import Settings
from services.inference.uploads import body

TIMEOUT = 30  # seconds of waiting for predictions, which come first
RETRY_AFTER = 1  # seconds
BODY = request_body("One image as a form, as JSON, or as the body.", BINARY, BASE64)
EXPLAIN_RESPONSES = RESPONSES | {
    200: Explanation,
    413: problem("More bytes than one request may have, or several images"),
    503: problem("Another explanation or too many predictions are in progress, or no model is loaded; see Retry-After"),
}


def create_blueprint(model: Model, settings: Settings, queue: ModelQueue, memory: UploadMemory) -> APIBlueprint:
    """Create the route for one model and its limits; each worker computes one explanation at a time."""
    slot = Semaphore(1)
    routes = client_blueprint("explain", settings)

    @routes.post(
        "/explain",
        summary="Show the parts of an image on which its label depends",
        responses=EXPLAIN_RESPONSES,
        openapi_extensions={"parameters": [REQUEST_ID], "requestBody": BODY},
    )
    def explain() -> dict[str, Any]:
        """Cover one part after the other and measure how far the label's probability falls.

        This takes about fifty predictions, which run only while no request to /predict waits.
        """
        manifest = model.require().manifest
        if slot.locked():  # before the body is read
            raise _busy()
        with memory.reserve() as take:
            images = body.read_images(settings, take)
            if len(images) > 1:
                raise Problem(TOO_LARGE, f"{len(images)} images were sent; one can be explained at a time.")
            if not slot.acquire(blocking=False):
                raise _busy()
            try:
                with gevent.Timeout(TIMEOUT, _busy()):
                    pixels = queue.decode(images)
                    rows, flags, *_ = queue.predict_when_idle(pixels)
                    heat_map = occlusion.explain(pixels[0], rows[0], lambda one: queue.predict_when_idle(one)[0])
            finally:
                slot.release()
        answer = to_answer(manifest.classes, rows[0])
        g.log_fields["label"] = answer["label"]
        return {
            "label": answer["label"],
            "confidence": answer["confidence"],
            "uncertain": None if flags is None else bool(flags[0]),
            "side": occlusion.SIDE,
            "values": heat_map.values.round(DECIMALS).tolist(),
            "area": "image" if manifest.input.resize == "stretch" else "center-square",
            "lowest_confidence": round(heat_map.lowest_confidence, DECIMALS),
            "model": {"name": manifest.name, "version": manifest.version},
        }

    return routes


def _busy() -> Problem:
    detail = "Another explanation, or many predictions, are in progress. Send the request again in a second."
    return Problem(FULL, detail, retry_after=RETRY_AFTER)
