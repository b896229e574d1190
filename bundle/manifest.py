"""The bundle: the folder with ``model.onnx`` and ``manifest.json`` that training hands to serving."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bundle.preprocess import Resize

SCHEMA_VERSION = 1
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"

Precision = Literal["fp32", "fp16", "int8"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Section):
    """What the graph takes: square RGB pictures, made by ``bundle.preprocess.decode``."""

    size: int = Field(gt=0, description="side of the square, pixels")
    resize: Resize


class Training(_Section):
    """Where the weights come from."""

    run_id: str | None = Field(description="MLflow run, if it could be reached")
    git_commit: str | None
    architecture: str
    initial_weights: str = Field(description="scratch, imagenet, or the file's name and SHA-256")
    epochs: int
    seed: int
    recipe: dict[str, str | int | float] = Field(default_factory=dict, description="settings of ml.train")
    machine: str | None = Field(default=None, description="on what it was trained")
    hours: float | None = Field(default=None, description="of training, validation left out")


class Dataset(_Section):
    """What it was trained and measured on."""

    name: str
    source: str | None = Field(description="address of the archive, if downloaded")
    synthetic: bool = Field(description="drawn by this project, not photographed")
    fingerprint: str = Field(description="SHA-256 over the sorted content hashes and labels")
    counts: dict[str, dict[str, int]] = Field(description="pictures by split and class")
    left_out: dict[str, int] = Field(description="files left out, by reason")
    lists: dict[str, str] = Field(default_factory=dict, description="texts of the lists of pictures left out")


class CalibrationBin(_Section):
    """The pictures that were answered with about one confidence."""

    pictures: int
    confidence: float = Field(description="mean")
    accuracy: float


class Mistake(_Section):
    """A picture that was called something else."""

    picture: str = Field(description="its folder and name")
    label: str
    predicted: str
    confidence: float
    traits: list[str] = Field(description="what is unusual about it among the pictures of its set")


class Metrics(_Section):
    """Measured on the held-out test pictures, with the service's decoding, on this very model file."""

    pictures: int
    accuracy: float
    accuracy_ci95: tuple[float, float] = Field(description="Wilson score interval")
    recall: dict[str, float]
    log_loss: float = Field(description="nats")
    expected_calibration_error: float = Field(description="15 equal-width bins of confidence")
    recall_ci95: dict[str, tuple[float, float]] = Field(default_factory=dict, description="Wilson score intervals")
    calibration: list[CalibrationBin] = Field(default_factory=list, description="the bins that hold pictures")
    worst_mistakes: list[Mistake] = Field(default_factory=list, description="the most confident first")
    uncertain: float | None = Field(default=None, description="share of the pictures that is flagged")


class Uncertainty(_Section):
    """When an answer is flagged: its confidence is low, or the picture is unlike those learned from.

    The limits are chosen on validation pictures.
    """

    least_confidence: float
    greatest_distance: float = Field(description="of the graph's output ``distance``")
    flagged: float = Field(description="share of the validation pictures that is flagged")


class Acceptance(_Section):
    """Measured on photos as people send them: at their own size and shape, and as phones and messengers spoil them."""

    metrics: Metrics
    corrupted: dict[str, float] = Field(description="accuracy, by what was done to the photos")


class Neither(_Section):
    """The answers for pictures that show none of the classes, of one kind."""

    pictures: int
    uncertain: float = Field(description="share that is flagged")
    sure: float = Field(description="share that is answered with a confidence of 99 % or more")


class Histogram(_Section):
    """How a number is spread."""

    bins: list[float] = Field(description="edges, one more than shares")
    shares: list[float]


class Reference(_Section):
    """Distributions on the held-out pictures, to compare live traffic with."""

    predicted_classes: dict[str, float] = Field(description="share of each predicted class")
    confidence_bins: list[float] = Field(description="edges, one more than shares")
    confidence_shares: list[float] = Field(min_length=1)
    pictures: dict[str, Histogram] = Field(
        default_factory=dict, description="of the decoded pictures; see bundle.image_statistics"
    )

    @model_validator(mode="after")
    def _edges_around_shares(self) -> Self:
        if len(self.confidence_bins) != len(self.confidence_shares) + 1:
            raise ValueError("confidence_bins has not one edge more than confidence_shares")
        return self


class Parity(_Section):
    """The exported graph against PyTorch on real pictures."""

    pictures: int
    max_probability_difference: float


class Manifest(_Section):
    """All that serving needs and all that a person asks about a model."""

    schema_version: Literal[1]
    name: str
    version: str
    created: str = Field(description="UTC, ISO 8601")
    classes: list[str] = Field(min_length=2, description="in output order")
    input: Input
    model_sha256: str
    training: Training
    dataset: Dataset
    parity: Parity | None = Field(description="none until the graph was compared")
    metrics: Metrics | None = Field(description="none until the bundle was evaluated")
    reference: Reference | None = Field(description="none until the bundle was evaluated")
    precision: Precision = Field(default="fp32", description="of the weights in model.onnx")
    mirrored: bool = Field(default=False, description="the graph looks at each picture's mirror image as well")
    uncertainty: Uncertainty | None = Field(
        default=None, description="none: the service does not say when it is unsure"
    )
    acceptance: Acceptance | None = Field(default=None, description="none until measured on such photos")
    neither: dict[str, Neither] = Field(default_factory=dict, description="by kind of picture")

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: list[str]) -> list[str]:
        if len(set(classes)) < len(classes):
            raise ValueError("a class is named twice")
        return classes
