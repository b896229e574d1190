"""A tiny real bundle: a graph that names a picture's strongest colour, made without PyTorch."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bundle.predictor import CLASSES_KEY, DISTANCE_NAME, INPUT_NAME, OUTPUT_NAME

CLASSES = ["red", "green", "blue"]
SIZE = 32
SHARPNESS = 12.0


def write(
    folder: Path, classes: list[str] | None = None, size: int = SIZE, fragile: bool = False, **changes: Any
) -> Path:
    """Write a bundle that can be served.

    Args:
        folder: Where to; made if need be.
        classes: Names of the classes, up to three: the picture is mostly red, green, blue.
        size: Side of the model's input in pixels.
        fragile: Let the model fail, when it runs, on pictures with a value of 250 or more.
        changes: Fields of the manifest to replace, such as ``name`` or ``version``.
    """
    classes = classes or CLASSES
    folder.mkdir(parents=True, exist_ok=True)
    model = graph(classes, size, fragile).SerializeToString()
    (folder / "model.onnx").write_bytes(model)
    manifest = manifest_for(model, classes, size) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    return folder


def graph(classes: list[str], size: int, fragile: bool = False) -> onnx.ModelProto:
    """Softmax over the mean of each colour channel; the distance is how far the strongest is from black, 0 to 1."""
    weights = {
        "white": np.array(255, np.float32),
        "channels": np.array([1], np.int64),
        "scale": np.array(SHARPNESS / 255, np.float32),
        "axes": np.array([1, 2], np.int64),
        "first": np.eye(3, len(classes), dtype=np.float32),
    }
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "first"], ["colours"]),
        helper.make_node("Mul", ["colours", "scale"], ["logits"]),
        helper.make_node("ReduceMax", ["mean", "channels"], ["strongest"], keepdims=0),
        helper.make_node("Div", ["strongest", "white"], [DISTANCE_NAME]),
        helper.make_node("Softmax", ["logits"], [OUTPUT_NAME], axis=1),
    ]
    if fragile:
        # A look-up with one entry: dark pictures look up the first, bright ones the second.
        weights |= {"entries": weights.pop("scale").reshape(1), "limit": np.array(250, np.float32)}
        nodes = [
            nodes[0],
            helper.make_node("ReduceMax", ["floats"], ["brightest"], keepdims=0),
            helper.make_node("Div", ["brightest", "limit"], ["share"]),
            helper.make_node("Cast", ["share"], ["entry"], to=TensorProto.INT64),
            helper.make_node("Gather", ["entries", "entry"], ["looked_up"]),
            *nodes[1:3],
            helper.make_node("Mul", ["colours", "looked_up"], ["logits"]),
            *nodes[4:],
        ]
    pixels = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["batch", size, size, 3])
    probabilities = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", len(classes)])
    distance = helper.make_tensor_value_info(DISTANCE_NAME, TensorProto.FLOAT, ["batch"])
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "colours", [pixels], [probabilities, distance], initializers),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    helper.set_model_props(model, {CLASSES_KEY: json.dumps(classes)})
    onnx.checker.check_model(model)
    return model


def manifest_for(model: bytes, classes: list[str], size: int) -> dict[str, Any]:
    """A manifest that is true of ``graph``'s model, and plausible where nobody measured."""
    share = 1 / len(classes)
    return {
        "schema_version": 1,
        "name": "colours",
        "version": "1",
        "created": "2026-11-01T12:00:00Z",
        "classes": classes,
        "input": {"size": size, "resize": "stretch"},
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "training": {
            "run_id": None,
            "git_commit": None,
            "architecture": "mean colour",
            "initial_weights": "scratch",
            "epochs": 0,
            "seed": 0,
        },
        "dataset": {
            "name": "colours",
            "source": None,
            "synthetic": True,
            "fingerprint": "0" * 64,
            "counts": {"test": dict.fromkeys(classes, 1)},
            "left_out": {},
        },
        "uncertainty": {"least_confidence": 0.4, "greatest_distance": 0.99, "flagged": 0.0},
        "parity": {"pictures": 1, "max_probability_difference": 0.0},
        "metrics": {
            "pictures": len(classes),
            "accuracy": 1.0,
            "accuracy_ci95": [0.4, 1.0],
            "recall": dict.fromkeys(classes, 1.0),
            "log_loss": 0.01,
            "expected_calibration_error": 0.0,
        },
        "reference": {
            "predicted_classes": dict.fromkeys(classes, share),
            "confidence_bins": [0.0, 0.5, 1.0],
            "confidence_shares": [0.0, 1.0],
        },
    }
