import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from PIL import Image, ImageEnhance

from bundle import load as bundle_folder
from bundle.load import Bundle
from bundle.predictor import INPUT_NAME, OUTPUT_NAME, Predictor
from tests.servers import ROOT

# Crops of a photo with so much contrast that many values are saturated.
CORNERS = range(0, 120, 20)
CONTRAST = 8
ROUNDING = 0.01


def widen_to_8_bits(model: bytes) -> bytes:
    """Return the graph with doubled weights and halved scales: 8 bits where the weights use 7."""
    graph = onnx.load_from_string(model)
    values = {one.name: one for one in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in values:
            continue
        integers, scales, zeros = (values[name] for name in node.input)
        if integers.data_type == onnx.TensorProto.UINT8:  # a constant beside the activations, no weights
            continue
        doubled = numpy_helper.to_array(integers) * np.int32(2)
        if doubled.ndim == 4:
            doubled = doubled.clip(-127, 127).astype(np.int8)
            zeros.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(zeros), zeros.name))
        integers.CopyFrom(numpy_helper.from_array(doubled, integers.name))
        scales.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scales) / np.float32(2), scales.name))
    return graph.SerializeToString()


def harsh_images(size: int) -> np.ndarray:
    cat = ImageEnhance.Contrast(Image.open(ROOT / "docs" / "cat.jpg").convert("RGB")).enhance(CONTRAST)
    parts = [cat.crop((x, y, x + 180, y + 180)).resize((size, size)) for x in CORNERS for y in CORNERS]
    return np.stack([np.asarray(part) for part in parts])


def run_unoptimised(model: bytes, pixels: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: pixels})[0]


def test_products_of_8_bits_do_not_overflow():
    shipped = bundle_folder.load(ROOT / "models" / "champion")
    pixels = harsh_images(shipped.manifest.input.size)
    for model in (shipped.model, widen_to_8_bits(shipped.model)):
        answers = Predictor(Bundle(shipped.manifest, model)).predict(pixels)
        np.testing.assert_allclose(answers, run_unoptimised(model, pixels), atol=ROUNDING)


def test_memory_does_not_grow_with_the_number_of_images():
    code = """
import resource, numpy as np
from bundle.load import CHAMPION, load
from bundle.predictor import Predictor
predictor = Predictor(load(CHAMPION))
size = predictor.manifest.input.size
pixels = np.zeros((32, size, size, 3), np.uint8)
used = []
for images in (pixels[:1], pixels):
    predictor.predict(images)
    used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(used[1] / used[0])
"""
    growth = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert float(growth) < 1.2, "32 images in one run took three times the memory"
