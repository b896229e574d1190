"""Define the schema of ``manifest.json``."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bundle.preprocess import Resize

SCHEMA_VERSION = 1
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"

Precision = Literal["fp32", "fp16", "int8"]


class _Section(BaseModel):
    # A bundle may be newer than the service: fields that it adds are ignored, and SCHEMA_VERSION tells what is not.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Input(_Section):
    """Input of the graph: square RGB images from ``bundle.preprocess.decode``."""

    size: int = Field(gt=0, description="side of the square, pixels")
    resize: Resize


class Training(_Section):
    """Origin of the weights."""

    run_id: str | None = Field(description="MLflow run; null if MLflow was down")
    git_commit: str | None
    architecture: str
    initial_weights: str = Field(description="scratch, pretrained, or the file's name and SHA-256")
    epochs: int
    seed: int
    recipe: dict[str, str | int | float] = Field(default_factory=dict, description="settings of ml.train")
    machine: str | None = Field(default=None, description="processor or GPU, and its number")
    hours: float | None = Field(default=None, description="of training, without validation")


class Dataset(_Section):
    """Data set of the training and the evaluation."""

    name: str
    source: str | None = Field(description="address of the archive, if downloaded")
    synthetic: bool = Field(description="drawn by this project")
    fingerprint: str = Field(description="SHA-256 over the sorted content hashes and labels")
    counts: dict[str, dict[str, int]] = Field(description="images by split and class")
    left_out: dict[str, int] = Field(description="files left out, by reason")
    lists: dict[str, str] = Field(default_factory=dict, description="texts of the lists of excluded images")


class CalibrationBin(_Section):
    """Images with about the same confidence."""

    pictures: int
    confidence: float = Field(description="mean")
    accuracy: float


class Mistake(_Section):
    """A misclassified image."""

    picture: str = Field(description="its folder and name")
    label: str
    predicted: str
    confidence: float
    traits: list[str] = Field(description="such as dark or blurred, compared with its set")


class Metrics(_Section):
    """Measured on one set of labelled images with the service's decoding and this model file."""

    pictures: int
    accuracy: float
    accuracy_ci95: tuple[float, float] = Field(description="Wilson score interval")
    recall: dict[str, float]
    log_loss: float = Field(description="nats")
    expected_calibration_error: float = Field(description="15 equal-width bins of confidence")
    recall_ci95: dict[str, tuple[float, float]] = Field(default_factory=dict, description="Wilson score intervals")
    calibration: list[CalibrationBin] = Field(default_factory=list, description="bins that hold images")
    worst_mistakes: list[Mistake] = Field(default_factory=list, description="the most confident first")
    uncertain: float | None = Field(default=None, description="share of flagged images")


class Uncertainty(_Section):
    """Limits beyond which an answer is flagged as uncertain, chosen on validation images or by cross-validation."""

    least_confidence: float
    greatest_distance: float = Field(description="of the graph's output ``distance``")
    flagged: float = Field(description="flagged share of the images that the limits were chosen on")


class CrossValidation(_Section):
    """Estimate of the accuracy where there are too few images for a large test split."""

    pictures: int
    folds: int
    accuracy: float
    accuracy_ci95: tuple[float, float] = Field(description="Wilson score interval")


class Acceptance(_Section):
    """Robustness: metrics on full-size photos, and accuracy on corrupted copies."""

    metrics: Metrics
    corrupted: dict[str, float] = Field(description="accuracy by corruption")


class Neither(_Section):
    """Answers for out-of-distribution images of one kind."""

    pictures: int
    uncertain: float = Field(description="share of flagged images")
    sure: float = Field(description="share with a confidence of 99 % or more")


class Histogram(_Section):
    """Distribution of one statistic."""

    bins: list[float] = Field(description="edges, one more than shares")
    shares: list[float]


class Quantiles(_Section):
    """Distribution of one signal, in bins that hold about the same share of the images."""

    edges: list[float] = Field(description="between the bins, ascending; a value equal to an edge is below it")
    shares: list[float] = Field(min_length=1, description="of the bins, one more than edges")

    @model_validator(mode="after")
    def _edges_between_shares(self) -> Self:
        if len(self.shares) != len(self.edges) + 1:
            raise ValueError("shares has not one number more than edges")
        if sorted(self.edges) != self.edges:
            raise ValueError("edges are not ascending")
        return self


class ConfidenceMoments(_Section):
    """Mean and spread of the confidences, to judge the accuracy that they promise."""

    mean: float
    deviation: float = Field(description="standard deviation")


class Reference(_Section):
    """Distributions on the test split, or on newer images of ``ml.drift reference``: the reference for drift."""

    predicted_classes: dict[str, float] = Field(description="share of each predicted class")
    confidence_bins: list[float] = Field(description="edges, one more than shares")
    confidence_shares: list[float] = Field(min_length=1)
    pictures: dict[str, Histogram] = Field(
        default_factory=dict, description="of the decoded images; see bundle.image_statistics"
    )
    images: int | None = Field(default=None, gt=0, description="number of images; null in older bundles")
    signals: dict[str, Quantiles] = Field(default_factory=dict, description="by signal; see bundle.signals")
    uncertain: float | None = Field(default=None, description="share of flagged images")
    confidence: ConfidenceMoments | None = Field(default=None, description="null in older bundles")

    @model_validator(mode="after")
    def _edges_around_shares(self) -> Self:
        if len(self.confidence_bins) != len(self.confidence_shares) + 1:
            raise ValueError("confidence_bins has not one edge more than confidence_shares")
        return self


class Parity(_Section):
    """Largest difference between the exported graph and PyTorch on real images."""

    pictures: int
    max_probability_difference: float


class Manifest(_Section):
    """Everything that serving needs, and the model's origin and measurements."""

    schema_version: Literal[1]
    name: str
    version: str
    created: str = Field(description="UTC, ISO 8601")
    classes: list[str] = Field(min_length=2, description="in output order")
    input: Input
    model_sha256: str
    training: Training
    dataset: Dataset
    parity: Parity | None = Field(description="null until compared")
    metrics: Metrics | None = Field(description="on the test split; null until evaluated")
    reference: Reference | None = Field(description="null until evaluated")
    precision: Precision = Field(default="fp32", description="of the weights in model.onnx")
    mirrored: bool = Field(default=False, description="the graph averages each image and its mirror image")
    uncertainty: Uncertainty | None = Field(default=None, description="null: answers are not flagged")
    acceptance: Acceptance | None = Field(default=None, description="null until measured")
    neither: dict[str, Neither] = Field(default_factory=dict, description="by kind of image")
    cross_validation: CrossValidation | None = Field(default=None, description="null with many images")
    other_sets: dict[str, Metrics] = Field(default_factory=dict, description="on images of other origin, by name")

    @field_validator("classes")
    @classmethod
    def _each_once(cls, classes: list[str]) -> list[str]:
        if len(set(classes)) < len(classes):
            raise ValueError("a class is named twice")
        return classes
