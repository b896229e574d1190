"""The app in this process, without a server."""

import io
from typing import Any

from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from urllib3 import encode_multipart_formdata
from werkzeug.test import TestResponse

from services.inference.app import create_app
from services.inference.settings import Settings


class Client(FlaskClient):
    """Flask's test client, which ends each request as a server does."""

    def open(self, *args: Any, **options: Any) -> TestResponse:
        return super().open(*args, **{"buffered": True} | options)

    def predict(self, *images: bytes, **options: Any) -> TestResponse:
        """Send images as a form."""
        files = [("file", (f"private-{number}.jpg", image, "image/jpeg")) for number, image in enumerate(images)]
        # werkzeug's own encoding of an empty file is no valid form.
        body, content_type = encode_multipart_formdata(files)
        return self.send(body, content_type, **options)

    def send(self, body: Any, content_type: str = "image/jpeg", **options: Any) -> TestResponse:
        """Send a body as it is."""
        return self.post("/predict", data=body, content_type=content_type, **options)

    def announce(self, body: bytes, length: int | None, **options: Any) -> TestResponse:
        """Send a body with another Content-Length, or in chunks without any, from a server that knows its end."""
        stream = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
        stream |= {"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {"CONTENT_LENGTH": str(length)}
        return self.post("/predict", content_type="image/jpeg", environ_overrides=stream | options)

    def samples(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Return the samples of this name by their labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {frozenset(s.labels.items()): s.value for family in families for s in family.samples if s.name == name}

    def metric(self, sample: str, **labels: str) -> float:
        """Add up the samples of this name with at least these labels. All apps of a process count together."""
        return sum(value for found, value in self.samples(sample).items() if found >= frozenset(labels.items()))


def create_client(**settings: Any) -> Client:
    """Create an app with these settings, and a client for it."""
    app = create_app(Settings(**settings))
    app.test_client_class = Client
    return app.test_client()


def assert_problem(response: TestResponse, status: int, kind: str, *words: str, index: int | None = None) -> None:
    """Check that an answer is a problem document of this status and type, with these words in its detail."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json
    expected = {"type", "title", "status", "detail", "request_id"} | (set() if index is None else {"index"})
    assert problem.keys() == expected
    assert (problem["type"], problem["status"]) == (f"urn:problem:{kind}", status)
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert problem.get("index") == index
    assert not [word for word in words if word not in problem["detail"]], problem["detail"]
