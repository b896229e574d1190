"""What ONNX Runtime makes of a graph for this machine's processor answers as the graph itself does."""

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageEnhance

from services.inference import bundle
from services.inference.predictor import INPUT_NAME, OUTPUT_NAME, Predictor
from tests.servers import ROOT

# Parts of a photo, by their left and upper corners, with so much contrast that many values are at their largest.
CORNERS = range(0, 120, 20)
CONTRAST = 8
ROUNDING = 0.01


def test_the_shipped_models_8_bits_do_not_overflow():
    shipped = bundle.load(ROOT / "models" / "champion")
    size = shipped.manifest.input.size
    cat = ImageEnhance.Contrast(Image.open(ROOT / "docs" / "cat.jpg").convert("RGB")).enhance(CONTRAST)
    parts = [cat.crop((x, y, x + 180, y + 180)).resize((size, size)) for x in CORNERS for y in CORNERS]
    pixels = np.stack([np.asarray(part) for part in parts])
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    as_written = ort.InferenceSession(shipped.model, options, providers=["CPUExecutionProvider"])
    (expected,) = as_written.run([OUTPUT_NAME], {INPUT_NAME: pixels})
    np.testing.assert_allclose(Predictor(shipped).predict(pixels), expected, atol=ROUNDING)
