"""FastAPI and eager PyTorch, as in the common tutorial."""

from fastapi import FastAPI, Request, UploadFile

from benchmarks.eager import Eager

app = FastAPI()
eager = Eager()


@app.get("/ready")
def ready() -> dict[str, str]:
    """The network is built before the server listens."""
    return {"status": "ready"}


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, float]:
    """A picture in a form."""
    return eager.probabilities(await file.read())


@app.post("/raw")
async def raw(request: Request) -> dict[str, float]:
    """A picture as the body."""
    return eager.probabilities(await request.body())
