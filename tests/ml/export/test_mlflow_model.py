"""The MLflow model gives the bundle's answers for encoded images."""

import base64
import os
import signal
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests

from bundle.answer import to_answer
from bundle.predictor import Predictor
from bundle.preprocess import decode
from ml.export import mlflow_model, write_bundle
from tests import drawn_images, servers

# mlflow warns of its own type hints when its pyfunc module is first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")
IMAGES = [drawn_images.plain(), drawn_images.plain(drawn_images.GREEN)]


@pytest.fixture(scope="module")
def saved(exported, tmp_path_factory):
    """The folder of a saved model."""
    folder = tmp_path_factory.mktemp("model")
    write_bundle.write(folder / "bundle", exported("fp16"))
    for _ in range(2):  # a resumed run saves again
        mlflow_model.save(folder / "bundle", folder / "model")
    return folder / "model"


def answers(bundle):
    """Compute the answers to the images as the service does."""
    shape = bundle.manifest.input
    rows = Predictor(bundle).predict(np.stack([decode(image, shape.size, shape.resize) for image in IMAGES]))
    return [to_answer(bundle.manifest.classes, row) | {"uncertain": False} for row in rows]


def test_loaded_model_gives_the_services_answers(saved, exported):
    model = mlflow.pyfunc.load_model(str(saved))
    assert model.predict(pd.DataFrame({"image": IMAGES})).to_dict("records") == answers(exported("fp16"))
    assert model.metadata.get_input_schema().input_names() == ["image"]
    assert model.metadata.get_output_schema().input_names() == ["label", "confidence", "probabilities", "uncertain"]
    assert model.input_example["image"].map(len).min() > 0


def test_mlflow_serves_base64_images(saved, exported, tmp_path):
    port = servers.free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(saved)]
    command += ["--env-manager", "local", "--port", str(port)]
    # MLflow starts uvicorn by its name.
    env = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with servers.running(command, tmp_path / "log", env) as process:
        servers.wait_for(f"http://127.0.0.1:{port}/ping", process, tmp_path / "log")
        records = [{"image": base64.b64encode(image).decode()} for image in IMAGES]
        body = {"dataframe_records": records}
        answer = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60)
        os.killpg(process.pid, signal.SIGTERM)  # with the server that mlflow has started
    assert answer.json() == {"predictions": answers(exported("fp16"))}
