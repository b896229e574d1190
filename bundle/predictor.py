"""From pixels to probabilities: ONNX Runtime on a checked bundle."""

import json

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bundle.load import Bundle, BundleError

INPUT_NAME = "pixels"
OUTPUT_NAME = "probabilities"
DISTANCE_NAME = "distance"
CLASSES_KEY = "classes"


class Predictor:
    """Runs a bundle's graph; safe to call from several threads."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Load the graph and check that it is the one the manifest describes.

        Args:
            bundle: A loaded bundle.
            threads: Threads for one run of the graph (onnxruntime's intra-op pool).

        Raises:
            BundleError: The model is no ONNX graph, or its classes or input differ from the manifest's.
        """
        self.manifest = bundle.manifest
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Errors are raised; the library's own lines on them would stand in nobody's format.
        options.log_severity_level = 4
        # A waiting thread that spins takes the processor from the other worker.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Sums of two products of 8 bits overflow on processors without VNNI (Intel's before 2019, AMD's before 2022).
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a different class for each way to be no graph
            first_line = str(error).strip().splitlines()[0]
            raise BundleError(f"The model file is not an ONNX graph that can be run: {first_line}") from error
        self._check(bundle)

    def _check(self, bundle: Bundle) -> None:
        metadata = self._session.get_modelmeta().custom_metadata_map
        try:
            classes = json.loads(metadata.get(CLASSES_KEY, "null"))
        except ValueError:
            classes = None
        if classes != bundle.manifest.classes:
            raise BundleError(
                f"The model was exported for the classes {classes}, but the manifest names "
                f"{bundle.manifest.classes}: the two do not belong together."
            )
        inputs = {i.name: (i.type, i.shape[1:]) for i in self._session.get_inputs()}
        size = bundle.manifest.input.size
        if inputs != {INPUT_NAME: ("tensor(uint8)", [size, size, 3])}:
            raise BundleError(
                f"The model takes {inputs}, but the manifest describes uint8 {INPUT_NAME} of {size} × {size} × 3."
            )
        outputs = {o.name: o.shape[1:] for o in self._session.get_outputs()}
        described: dict[str, list[int]] = {OUTPUT_NAME: [len(bundle.manifest.classes)]}
        if bundle.manifest.uncertainty:
            described[DISTANCE_NAME] = []
        if any(outputs.get(name) != shape for name, shape in described.items()):
            raise BundleError(f"The model gives {outputs}, but the manifest describes {described}.")

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify a batch.

        Args:
            pixels: RGB pictures from ``image.decode``, shape ``(n, size, size, 3)``.

        Returns:
            One row of probabilities per picture in the manifest's class order, shape ``(n, classes)``.
        """
        (probabilities,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: pixels})
        return np.asarray(probabilities, dtype=np.float32)

    def answer(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Classify a batch, and say which answers are not to be relied on.

        Args:
            pixels: As for ``predict``.

        Returns:
            The rows of ``predict``, and for each picture whether it is uncertain, shape ``(n,)``; None instead of that
            where the bundle has no limits for it.
        """
        limits = self.manifest.uncertainty
        if limits is None:
            return self.predict(pixels), None
        probabilities, distances = self.measure(pixels)
        unsure = probabilities.max(1) < limits.least_confidence
        return probabilities, unsure | (distances > limits.greatest_distance)

    def measure(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give the rows of ``predict`` and how far each picture is from those that the model learned from, ``(n,)``.

        Only of a graph that has the output ``distance``.
        """
        probabilities, distances = self._session.run([OUTPUT_NAME, DISTANCE_NAME], {INPUT_NAME: pixels})
        return np.asarray(probabilities, dtype=np.float32), np.asarray(distances, dtype=np.float32)
