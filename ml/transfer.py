"""Train the head on a backbone's features: the first and the last step of training, and the only one for few images."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bundle.manifest import CrossValidation
from ml.data.split import Split
from ml.evaluation.metrics import wilson
from ml.model.names import SCRATCH
from ml.training import head
from ml.training.features import extract
from ml.training.head import HeadResult
from ml.training.loader import CACHE_MARGIN, AugmentedPixels, Pixels
from ml.training_run import TrainingRun

# With fewer images, and the head alone to train, validation images are too precious to be set aside.
CROSS_VALIDATED_IMAGES = 2000


def train_head(run: TrainingRun, loss: str, views: int) -> HeadResult:
    """Train the head on the features of the backbone as it is, put it into the network, and log its losses.

    It also learns from that many augmented views of each image. ``loss`` names the losses in MLflow.

    The head learns from images of the served size. After fine-tuning on smaller crops, in which objects look larger,
    this mends the difference (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").
    """
    if is_cross_validated(run):
        splits: tuple[Split, ...] = ("train", "validation")
        known = as_served(run, splits)
        features = extract(run.network.backbone, known, run.device)
        seen = augmented(run, splits, views)
        result = head.cross_validate(features, known.labels, known.groups, seen, run.config.seed)
        estimate = describe_cross_validation(result)
        low, high = estimate.accuracy_ci95
        print(
            f"Cross-validation in {estimate.folds} folds: {estimate.accuracy:.1%} of {estimate.pictures:,} images are "
            f"right (95 % interval {low:.1%} to {high:.1%})."
        )
        run.tracker.metrics({"cross_validation/accuracy": estimate.accuracy})
    else:
        known, held_out = as_served(run, ("train",)), as_served(run, ("validation",))
        features, others = (extract(run.network.backbone, images, run.device) for images in (known, held_out))
        seen = augmented(run, ("train",), views)
        labels = known.labels.repeat(1 + views)
        result = head.train(torch.cat([features, *seen]), labels, others, held_out.labels)
    run.network.head.load_state_dict(result.linear.state_dict())
    for epoch, losses in enumerate(zip(result.train_losses, result.validation_losses, strict=True), 1):
        run.tracker.metrics(dict(zip((f"train/{loss}", f"validation/{loss}"), losses, strict=True)), step=epoch)
    return result


def augmented(run: TrainingRun, splits: tuple[Split, ...], views: int) -> list[Tensor]:
    """Compute the features of so many augmented views of the images of splits."""
    if not views:
        return []
    images, size = run.dataset.split(*splits), seen_size(run)
    decoded = Pixels(images, round(size * CACHE_MARGIN), run.config.resize, run.options.cache, "training images")
    configs = [replace(run.config, size=size, seed=run.config.seed + view) for view in range(views)]
    return [extract(run.network.backbone, AugmentedPixels(decoded, config), run.device) for config in configs]


def describe_cross_validation(result: HeadResult) -> CrossValidation:
    """Compute the accuracy of a cross-validated head and its interval."""
    hits = (result.logits.argmax(1) == result.labels).numpy()
    return CrossValidation(
        pictures=len(hits), folds=result.folds, accuracy=float(hits.mean()), accuracy_ci95=wilson(hits)
    )


def is_cross_validated(run: TrainingRun) -> bool:
    """Tell whether the head is trained on all but the test images, and measured by cross-validation."""
    images = len(run.dataset.split("train", "validation"))
    return run.config.weights != SCRATCH and not run.config.epochs and images < CROSS_VALIDATED_IMAGES


def as_served(run: TrainingRun, splits: tuple[Split, ...]) -> Pixels:
    """Decode the images of splits as the service would."""
    name = "training images" if "train" in splits else "validation images"
    images, seen = run.dataset.split(*splits), seen_size(run)
    side = round(seen / run.config.serve_crop)
    return Pixels(images, side, run.config.resize, run.options.cache, f"{name} as served", seen)


def seen_size(run: TrainingRun) -> int:
    """Return the side of the square that the served network sees, in pixels."""
    return run.options.serve_size or run.config.size


def blend(initial: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Average fine-tuned weights with the weights before, after Wortsman et al. 2022.

    "Robust fine-tuning of zero-shot models" shows that the average keeps what the backbone knew of other images.
    """
    return {
        name: torch.lerp(initial[name], value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }
