"""The MLflow model is the served graph."""

import mlflow
import numpy as np
import pytest

from bundle.predictor import Predictor
from ml.export import mlflow_model
from tests.ml.export.conftest import CLASSES, SIZE


# mlflow warns of its own type hints when its pyfunc module is first imported.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")
def test_saved_model_gives_the_bundles_answers(exported, photos, tmp_path):
    bundle = exported("fp16")
    for _ in range(2):  # a resumed run saves again
        mlflow_model.save(bundle, tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    (taken,), given = model.metadata.signature.inputs.inputs, model.metadata.signature.outputs.inputs
    assert (taken.name, taken.type, taken.shape) == ("pixels", np.uint8, (-1, SIZE, SIZE, 3))
    assert {one.name: one.shape for one in given} == {"probabilities": (-1, len(CLASSES)), "distance": (-1,)}
    assert "onnx" in model.metadata.flavors
    for some in (photos[:1], photos):
        found = model.predict({"pixels": some})
        assert found.keys() == {"probabilities", "distance"}
        for name, expected in Predictor(bundle).outputs(some).items():
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
