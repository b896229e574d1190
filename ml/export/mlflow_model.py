"""Save a bundle's graph in MLflow's format."""

import shutil
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import onnx
from mlflow.models import infer_signature

from bundle.load import Bundle
from bundle.predictor import INPUT_NAME, Predictor


def save(bundle: Bundle, folder: Path) -> None:
    """Save the graph that is served as an MLflow model with its signature; an earlier one is replaced."""
    # mlflow refuses to overwrite the folder of a resumed run.
    shutil.rmtree(folder, ignore_errors=True)
    size = bundle.manifest.input.size
    example = np.zeros((2, size, size, 3), dtype=np.uint8)
    mlflow.onnx.save_model(
        onnx.load_from_string(bundle.model),
        folder,
        signature=infer_signature({INPUT_NAME: example}, Predictor(bundle).outputs(example)),
        # Given, because mlflow would find them by loading the model in another process, the slowest step of all.
        pip_requirements=[f"{name}=={version(name)}" for name in ("onnx", "onnxruntime", "numpy")],
    )
