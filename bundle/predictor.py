"""Run a bundle's model: pixels in, probabilities and uncertainty out."""

import contextlib
import json

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bundle.files import BundleError
from bundle.load import Bundle

INPUT_NAME = "pixels"
OUTPUT_NAME = "probabilities"
DISTANCE_NAME = "distance"
CLASSES_KEY = "classes"


class Predictor:
    """An ONNX Runtime session; safe to call from several threads."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Load the graph, for so many threads a run, and compare it with the manifest.

        Raises:
            BundleError: The model is not an ONNX graph, or its classes, input or outputs differ from the manifest.
        """
        self.manifest = bundle.manifest
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Errors are raised; the library's own log lines are not JSON.
        options.log_severity_level = 4
        # A spinning thread takes the processor from another worker.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Products of 8 bits overflow on processors without VNNI (Intel before 2019, AMD before 2022).
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a class of its own for each cause
            first_line = str(error).strip().splitlines()[0]
            raise BundleError(f"The model file is not an ONNX graph that can be run: {first_line}") from error
        self._check_graph()

    def _check_graph(self) -> None:
        classes = None
        with contextlib.suppress(ValueError):
            classes = json.loads(self._session.get_modelmeta().custom_metadata_map.get(CLASSES_KEY, "null"))
        if classes != self.manifest.classes:
            raise BundleError(
                f"The model was exported for the classes {classes}, but the manifest names "
                f"{self.manifest.classes}: the two do not belong together."
            )
        inputs = {i.name: (i.type, i.shape[1:]) for i in self._session.get_inputs()}
        size = self.manifest.input.size
        if inputs != {INPUT_NAME: ("tensor(uint8)", [size, size, 3])}:
            raise BundleError(
                f"The model takes {inputs}, but the manifest describes uint8 {INPUT_NAME} of {size} × {size} × 3."
            )
        outputs = {o.name: o.shape[1:] for o in self._session.get_outputs()}
        described: dict[str, list[int]] = {OUTPUT_NAME: [len(self.manifest.classes)]}
        if self.manifest.uncertainty:
            described[DISTANCE_NAME] = []
        if any(outputs.get(name) != shape for name, shape in described.items()):
            raise BundleError(f"The model gives {outputs}, but the manifest describes {described}.")

    def warm_up(self) -> None:
        """Run the model on a black image: the first run is slow.

        Raises:
            BundleError: It gives no probabilities.
        """
        size = self.manifest.input.size
        try:
            rows, _ = self.answer(np.zeros((1, size, size, 3), np.uint8))
        except Exception as error:  # as above
            first_line = (str(error).strip() or "no message").splitlines()[0]
            raise BundleError(f"The model cannot be run ({type(error).__name__}: {first_line}).") from error
        if rows.shape != (1, len(self.manifest.classes)) or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
            raise BundleError(f"The model gives {rows.tolist()} for a black image, not probabilities.")

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the probabilities, shape ``(n, classes)``, of images from ``preprocess.decode``."""
        (probabilities,) = self._run([OUTPUT_NAME], pixels)
        return probabilities

    def answer(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Compute the probabilities and flag the uncertain ones.

        Returns:
            The rows of ``predict``, and a flag per image, shape ``(n,)``; None where the bundle sets no limits.
        """
        probabilities, uncertain, _ = self.answer_with_scores(pixels)
        return probabilities, uncertain

    def answer_with_scores(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, NDArray[np.float32] | None]:
        """Compute ``answer`` and the out-of-distribution scores, shape ``(n,)``, which are None without limits."""
        limits = self.manifest.uncertainty
        if limits is None:
            return self.predict(pixels), None, None
        probabilities, scores = self.measure(pixels)
        unsure = probabilities.max(1) < limits.least_confidence
        return probabilities, unsure | (scores > limits.greatest_distance), scores

    def measure(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute the rows of ``predict`` and, with a graph that has them, the distances, shape ``(n,)``."""
        probabilities, distances = self._run([OUTPUT_NAME, DISTANCE_NAME], pixels)
        return probabilities, distances

    def _run(self, names: list[str], pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        # One image at a time: the intermediate results of several do not fit into a processor's cache, so that a run of
        # four takes longer than four runs. They would need four times the memory, too.
        runs = [self._session.run(names, {INPUT_NAME: pixels[i : i + 1]}) for i in range(len(pixels))]
        return [np.concatenate(parts, dtype=np.float32) for parts in zip(*runs, strict=True)]
