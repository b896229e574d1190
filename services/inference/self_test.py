"""Predict one image at the start of a worker, so that one that answers errors never becomes ready."""

import base64
import logging

from flask import Flask, g

PREDICT = "predict.predict"
# A grey disc, 16 pixels wide.
IMAGE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8yb"
    "qmx5moq6T/wAALCAAQABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAAAAL/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAA/AIAf/9k="
)

log = logging.getLogger(__name__)


def run(app: Flask) -> str:
    """Return why the app cannot predict, or nothing.

    The route is called directly, from the body to the response: the hooks around it would log and count a request.
    """
    with app.test_request_context("/predict", method="POST", data=IMAGE, content_type="image/jpeg"):
        g.log_fields = {}
        try:
            answer = app.make_response(app.ensure_sync(app.view_functions[PREDICT])()).get_json()
            if answer["label"] not in answer["probabilities"]:
                raise ValueError(f"the answer is {answer}")
        except Exception as error:
            log.error("the prediction at the start failed", exc_info=error)
            first_line = (str(error).strip() or "no message").splitlines()[0]
            return f"A prediction at the start failed ({type(error).__name__}: {first_line})."
    return ""
