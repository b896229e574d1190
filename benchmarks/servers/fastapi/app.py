"""FastAPI and eager PyTorch, as in the common tutorial."""

from fastapi import FastAPI, Request, UploadFile

from benchmarks.servers.eager import Eager

app = FastAPI()
eager = Eager()


@app.get("/ready")
def ready() -> dict[str, str]:
    """Answer once the server listens; the network is built before."""
    return {"status": "ready"}


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, float]:
    """Classify the image of a form."""
    return eager.probabilities(await file.read())


@app.post("/raw")
async def raw(request: Request) -> dict[str, float]:
    """Classify the image in the body."""
    return eager.probabilities(await request.body())
