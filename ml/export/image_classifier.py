"""The MLflow model's code: encoded images in, the service's answers out. MLflow runs this file where it serves."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from bundle.answer import to_answer
from bundle.load import load
from bundle.predictor import Predictor
from bundle.preprocess import decode

BUNDLE = "bundle"  # the artifact's name
IMAGE = "image"  # the column with the files' bytes


class ImageClassifier(PythonModel):
    """Decode and classify images with a bundle, as the service does."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle."""
        self._predictor = Predictor(load(Path(context.artifacts[BUNDLE])))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Classify the encoded images of the column ``image``, one answer in each row.

        Raises:
            ImageError: One of the images cannot be decoded.
        """
        manifest = self._predictor.manifest
        shape = manifest.input
        pixels = np.stack([decode(data, shape.size, shape.resize) for data in model_input[IMAGE]])
        rows, flags = self._predictor.answer(pixels)
        answers = pd.DataFrame([to_answer(manifest.classes, row) for row in rows])
        return answers.assign(uncertain=False if flags is None else flags)


set_model(ImageClassifier())
