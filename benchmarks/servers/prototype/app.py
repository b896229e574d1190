"""The first version that one writes: Flask, gunicorn's plain workers, eager PyTorch, whole pictures decoded."""

from flask import Flask, request

from benchmarks.eager import Eager

app = Flask(__name__)
eager = Eager()


@app.get("/ready")
def ready() -> dict[str, str]:
    """The network is built before the worker accepts."""
    return {"status": "ready"}


@app.post("/predict")
def predict() -> dict[str, float]:
    """A picture in a form."""
    return eager.probabilities(request.files["file"].read())


@app.post("/raw")
def raw() -> dict[str, float]:
    """A picture as the body."""
    return eager.probabilities(request.get_data())
