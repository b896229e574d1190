"""What ONNX Runtime makes of a graph for this machine's processor answers as the graph itself does."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from PIL import Image, ImageEnhance

from bundle import load as bundle_folder
from bundle.load import Bundle
from bundle.predictor import INPUT_NAME, OUTPUT_NAME, Predictor
from tests.servers import ROOT

# Parts of a photo, by their left and upper corners, with so much contrast that many values are at their largest.
CORNERS = range(0, 120, 20)
CONTRAST = 8
ROUNDING = 0.01


def of_all_8_bits(model: bytes) -> bytes:
    """Give a graph whose weights use 7 of their 8 bits with twice their numbers, each worth half as much."""
    graph = onnx.load_from_string(model)
    values = {one.name: one for one in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in values:
            continue
        integers, scales, zeros = (values[name] for name in node.input)
        doubled = numpy_helper.to_array(integers) * np.int32(2)
        if doubled.ndim == 4:
            doubled = doubled.clip(-127, 127).astype(np.int8)
            zeros.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(zeros), zeros.name))
        integers.CopyFrom(numpy_helper.from_array(doubled, integers.name))
        scales.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scales) / np.float32(2), scales.name))
    return graph.SerializeToString()


def harsh_pictures(size: int) -> np.ndarray:
    cat = ImageEnhance.Contrast(Image.open(ROOT / "docs" / "cat.jpg").convert("RGB")).enhance(CONTRAST)
    parts = [cat.crop((x, y, x + 180, y + 180)).resize((size, size)) for x in CORNERS for y in CORNERS]
    return np.stack([np.asarray(part) for part in parts])


def as_written(model: bytes, pixels: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: pixels})[0]


def test_products_of_8_bits_do_not_overflow():
    shipped = bundle_folder.load(ROOT / "models" / "champion")
    pixels = harsh_pictures(shipped.manifest.input.size)
    for model in (shipped.model, of_all_8_bits(shipped.model)):
        answers = Predictor(Bundle(shipped.manifest, model)).predict(pixels)
        np.testing.assert_allclose(answers, as_written(model, pixels), atol=ROUNDING)
