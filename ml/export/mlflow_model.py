"""Save a bundle as an MLflow model that takes encoded images."""

import io
import shutil
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Map
from PIL import Image

import bundle

CODE = Path(__file__).with_name("image_classifier.py")
BUNDLE = "bundle"  # the artifact's and the column's names in that file
IMAGE = "image"
REQUIREMENTS = ("numpy", "onnxruntime", "pandas", "pillow", "pydantic")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, IMAGE)]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "label"),
            ColSpec(DataType.double, "confidence"),
            ColSpec(Map(DataType.double), "probabilities"),
            ColSpec(DataType.boolean, "uncertain"),
        ]
    ),
)


def save(bundle_folder: Path, folder: Path) -> None:
    """Save an MLflow model with the bundle and its code; an earlier one is replaced.

    ``mlflow models serve`` takes the images as base64 in ``{"dataframe_records": [{"image": …}]}``.
    """
    # mlflow refuses to overwrite the folder of a resumed run.
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.pyfunc.save_model(
        folder,
        python_model=str(CODE),
        artifacts={BUNDLE: str(bundle_folder)},
        code_paths=[str(Path(bundle.__file__).parent)],
        signature=SIGNATURE,
        # Of objects: mlflow compares the columns with a range, which pandas deprecates for its own strings.
        input_example=pd.DataFrame([[_example()]], columns=pd.Index([IMAGE], dtype=object)),
        # Given, because mlflow would find them by loading the model in another process, the slowest step of all.
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
    )


def _example() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(file, "PNG")
    return file.getvalue()
