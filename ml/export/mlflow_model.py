"""Save a serving model in MLflow's format."""

import shutil
import warnings
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import infer_signature

from ml.export.serving_model import ServingModel


def save(model: ServingModel, folder: Path) -> None:
    """Save a model without a ``distance``, on the CPU, with its signature; an earlier one is replaced."""
    # mlflow refuses to overwrite the folder of a resumed run.
    shutil.rmtree(folder, ignore_errors=True)
    # mlflow exports with this example, and would fix the batch size of a single image.
    example = np.zeros((2, model.size, model.size, 3), dtype=np.uint8)
    with torch.inference_mode():
        probabilities = model.eval()(torch.from_numpy(example)).numpy()
    with warnings.catch_warnings():
        # torch.export warns of the device of shared weights; these are all on the CPU.
        warnings.simplefilter("ignore")
        mlflow.pytorch.save_model(
            model,
            folder,
            signature=infer_signature(example, probabilities),
            input_example=example,
            # Given, because mlflow would find them by loading the model in another process, the slowest step of all.
            pip_requirements=[f"torch=={version('torch')}", f"numpy=={version('numpy')}"],
        )
