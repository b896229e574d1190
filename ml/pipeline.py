"""Go from a folder of images to a published bundle: scan, prepare, train, export, evaluate, log, gate, publish."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient
from numpy.typing import NDArray

from bundle import manifest as sections
from bundle.load import CHAMPION, Bundle
from bundle.manifest import MANIFEST_FILE
from ml.data import report
from ml.data.dataset import Dataset
from ml.data.scan import scan
from ml.errors import UserError
from ml.evaluation import evaluation as evaluations
from ml.evaluation import out_of_distribution, plots, robustness
from ml.evaluation.evaluation import Evaluation
from ml.evaluation.metrics import metrics, summary
from ml.evaluation.reference import reference
from ml.export import graph, mlflow_model
from ml.export.limits import choose_limits, cross_validated_distances, measure_limits
from ml.export.serving_model import ServingModel
from ml.export.write_bundle import write
from ml.model.names import SCRATCH
from ml.model.residual import Residual
from ml.model.virtual_logit import VirtualLogit
from ml.registry import publishing
from ml.registry.gate import Verdict
from ml.registry.model_registry import BUNDLE_FOLDER, bundle_path, challenge, model_name, register
from ml.tracking.client import run_address
from ml.training import checkpoint, distributed
from ml.training.checkpoint import CHECKPOINT
from ml.training.config import TrainingConfig
from ml.training.device import choose_device, use_free_processors
from ml.training.features import extract
from ml.training.loader import CACHE_MARGIN, Pixels
from ml.training.state import Epoch
from ml.training.temperature_scaling import fit_temperature
from ml.training.trainer import TrainingResult, fit
from ml.training_run import TrainingRun, build_network, git_commit, load_config, prepare
from ml.transfer import as_served, blend, describe_cross_validation, is_cross_validated, train_head

PARITY_IMAGES = 64
CALIBRATION_IMAGES = 128
# Enough for the directions of the out-of-distribution score.
RESIDUAL_IMAGES = 4000


def run(client: MlflowClient, options: argparse.Namespace) -> int:
    """Run all steps; of the processes that ``torchrun`` started, the others only train.

    Returns:
        0 if there is a bundle, promoted or not; 1 if MLflow does not have it, so that it is yet to be gated.

    Raises:
        KeyboardInterrupt: Ctrl-C; the message tells how to continue.
        UserError: An input cannot be used, or the device has too little memory.
    """
    device = distributed.local_device(choose_device(options.device))
    use_free_processors(device)
    with distributed.process_group(device):
        if not distributed.is_main_process():
            run_secondary_rank(options, device)
            return 0
        commit = git_commit()  # first, since the code may change during a long training
        dataset = scan(options.data, exclude=options.exclude)
        training_run = prepare(client, options, dataset, device, commit)
        try:
            with training_run.tracker.ended_on_error():
                result = train(training_run)
                bundle, evaluation = evaluate(training_run, export(training_run, result))
                log(training_run, result, bundle, evaluation)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(_continuation(training_run.folder)) from interrupt
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"The memory of {device} is full: train with a lower --batch or a smaller --train-size, or with "
                "--device cpu."
            ) from error
        if unsent := training_run.tracker.finish():
            print(_recovery(training_run, unsent), file=sys.stderr)
        if not training_run.tracker.has_sent(training_run.folder / BUNDLE_FOLDER):
            return 1
        publish(training_run, bundle, gate(training_run, bundle))
        if address := run_address(client, training_run.tracker.run_id):
            print(f"\nThe run in MLflow: {address}")
        return 0


def run_secondary_rank(options: argparse.Namespace, device: torch.device) -> None:
    """Fine-tune along with the main process, without printing, logging or writing."""
    dataset = scan(options.data, exclude=options.exclude, progress=False)
    config = load_config(options, dataset)
    network = build_network(config, dataset)
    distributed.broadcast_from_main(None)  # wait until it has decoded the images and trained the head
    if config.epochs:
        training, validation = decode(dataset, config, options.cache)
        fit(network, training, validation, config, device, options.resume or Path(), bool(options.resume))


def decode(dataset: Dataset, config: TrainingConfig, cache: Path) -> tuple[Pixels, Pixels]:
    """Decode the training and validation images for fine-tuning, or find them in the cache."""
    side = round(config.train_size * CACHE_MARGIN)
    training = Pixels(dataset.split("train"), side, config.resize, cache, "training images")
    return training, Pixels(dataset.split("validation"), config.size, config.resize, cache, "validation images")


def train(run: TrainingRun) -> TrainingResult:
    """Train the head, then fine-tune the network and train the head anew, and log every epoch."""

    def log_epoch(epoch: Epoch) -> None:
        run.tracker.metrics(epoch.by_group(), step=epoch.epoch)

    config, resume = run.config, bool(run.options.resume)
    if not config.epochs:
        trained = train_head(run, "head_loss", config.views)
        distributed.broadcast_from_main(None)
        return TrainingResult([], run.network.state_dict(), 0, "the head is trained", 0, trained)
    if resume:
        # The last epoch of a killed run may be in the checkpoint but not in MLflow.
        _, state = checkpoint.read(run.folder / CHECKPOINT)
        for epoch in state["history"]:
            log_epoch(Epoch(**epoch))
    elif config.weights != SCRATCH:
        train_head(run, "head_loss", views=0)  # only to start from
    training, validation = decode(run.dataset, config, run.options.cache)
    distributed.broadcast_from_main(None)
    initial = {name: value.cpu().clone() for name, value in run.network.state_dict().items()}
    result = fit(run.network, training, validation, config, run.device, run.folder, resume, log_epoch)
    print(f"Training ended: {result.ending}; best of {len(result.history)} epochs: {result.best_epoch}.")
    if config.weights == SCRATCH:
        return result
    run.network.load_state_dict(blend(initial, result.best, config.blend))
    trained = train_head(run, "final_head_loss", config.views)
    return replace(result, best=run.network.state_dict(), head=trained)


def export(run: TrainingRun, result: TrainingResult) -> Bundle:
    """Export the best weights as a bundle with its limits for uncertain answers.

    Raises:
        ExportError: The graph's outputs differ from the network's.
    """
    options, dataset, config = run.options, run.dataset, run.config
    run.network.load_state_dict(result.best)
    run.network.eval()
    cross_validated = is_cross_validated(run)
    known = as_served(run, ("train", "validation") if cross_validated else ("train",))
    held_out = as_served(run, ("validation",))
    features = extract(run.network.backbone, known, run.device)
    residual = Residual(features[:: -(-len(features) // RESIDUAL_IMAGES)])
    if cross_validated and result.head:
        logits, labels = result.head.logits, result.head.labels
        distances = cross_validated_distances(features, known.labels, known.groups, config.seed)
    else:
        others = extract(run.network.backbone, held_out, run.device)
        logits, labels = run.network.cpu().head(others).detach(), held_out.labels
        distances = residual(others)
    temperature = fit_temperature(logits, labels)
    score = VirtualLogit(residual, distances, logits)
    model = ServingModel(run.network.cpu(), known.side, known.seen, temperature, score)
    bundle = graph.export(
        model,
        list(dataset.classes),
        config.resize,
        run.training.model_copy(update={"epochs": len(result.history), "hours": result.hours}),
        sections.Dataset(
            name=dataset.name,
            source=dataset.source,
            synthetic=dataset.synthetic,
            fingerprint=dataset.fingerprint,
            counts=dataset.counts(),
            left_out=dataset.left_out(),
            lists=dataset.lists,
        ),
        evenly_spaced(held_out, CALIBRATION_IMAGES if options.precision == "int8" else PARITY_IMAGES),
        options.precision,
        options.cache,
    )
    if cross_validated:
        probabilities = (logits / temperature).softmax(1)
        limits = choose_limits(probabilities.numpy(), score.combine(distances, logits).numpy())
    else:
        limits = measure_limits(bundle, held_out)
    estimate = describe_cross_validation(result.head) if cross_validated and result.head else None
    sections_now_known = {"uncertainty": limits, "cross_validation": estimate}
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update=sections_now_known))
    return bundle


def evenly_spaced(images: Pixels, number: int) -> NDArray[np.uint8]:
    """Choose up to so many images at equal distances: they are sorted by class, so every class is represented."""
    chosen = np.linspace(0, len(images) - 1, min(number, len(images))).astype(int)
    return np.array(images.pixels[chosen])


def evaluate(run: TrainingRun, bundle: Bundle) -> tuple[Bundle, Evaluation]:
    """Evaluate a bundle as the service would run it, and complete its manifest."""
    evaluation = evaluations.evaluate(bundle, run.dataset.split("test"))
    values = metrics(evaluation)
    manifest = bundle.manifest.model_copy(
        update={
            "metrics": values,
            "reference": reference(
                evaluation.classes, evaluation.probabilities, evaluation.signals, evaluation.uncertain
            ),
            "acceptance": robustness.measure(bundle, run.photos) if run.photos else None,
            "neither": out_of_distribution.measure(bundle, run.out_of_distribution),
            "other_sets": {
                name: metrics(evaluations.evaluate(bundle, images)) for name, images in run.other_sets.items()
            },
        }
    )
    print(f"\n{manifest.name} {manifest.version}, held-out images:\n{summary(values)}")
    return replace(bundle, manifest=manifest), evaluation


def log(run: TrainingRun, result: TrainingResult, bundle: Bundle, evaluation: Evaluation) -> None:
    """Write bundle, plots and MLflow's model to the run's folder, and log them with the metrics."""
    write(run.folder / BUNDLE_FOLDER, bundle)
    plots.save_all(result, evaluation, run.folder / "plots")
    values = bundle.manifest.metrics
    assert values is not None, "the bundle was evaluated"
    single = {name: value for name, value in values.model_dump().items() if isinstance(value, int | float)}
    recalls = {f"recall_{name}": value for name, value in values.recall.items()}
    run.tracker.metrics({f"test/{name}": value for name, value in (single | recalls).items()})
    run.tracker.file(run.folder / BUNDLE_FOLDER, to=bundle_path(bundle.manifest))
    run.tracker.file(run.folder / "plots", to="plots")
    mlflow_model.save(run.folder / BUNDLE_FOLDER, run.folder / "model")
    run.tracker.model(run.folder / "model")


def gate(run: TrainingRun, bundle: Bundle) -> Verdict:
    """Register the bundle as challenger, and promote it if it is no worse than the champion."""
    client = run.tracker.client
    version = register(client, bundle, run.tracker.run_id)
    verdict = challenge(client, version, bundle, run.dataset, run.served)
    print(f"\nGate:\n{verdict.table()}")
    return verdict


def publish(run: TrainingRun, bundle: Bundle, verdict: Verdict) -> None:
    """Replace the served bundle if the gate promoted the challenger."""
    champion = run.champion
    if not verdict.promoted:
        folder = shlex.quote(str((run.folder / BUNDLE_FOLDER).resolve()))
        print(f"\n{champion} is kept; `MODEL_DIR={folder} make up` serves the refused model all the same.")
        return
    if run.dataset.synthetic and not run.options.champion:
        print(f"\nTrained on drawn images: {champion} is kept (--champion {champion} would replace it).")
        return
    is_default = champion.resolve() == CHAMPION.resolve()
    if run.served is None and (champion / MANIFEST_FILE).exists():
        restore = f"; `git checkout {champion}` restores it" if is_default else ""
        print(f"\n{champion} held a model of other classes{restore}.")
    write(champion, bundle)
    serving = "make up" if is_default else f"MODEL_DIR={shlex.quote(str(champion.resolve()))} make up"
    print(f"\n{champion} now holds {bundle.manifest.name} {bundle.manifest.version}; `{serving}` serves it.")
    print(f"To a cluster:\n{publishing.commands(model_name(bundle.manifest.name), bundle.manifest.version)}")


def _continuation(folder: Path) -> str:
    """Explain how to continue a run that was stopped."""
    if (folder / CHECKPOINT).exists():
        return f"--resume {folder} continues from the last complete epoch."
    return f"{folder} has no checkpoint to resume: train again with another --out."


def _recovery(run: TrainingRun, unsent: list[str]) -> str:
    """Explain how to send and gate a bundle after MLflow was lost."""
    exclude = [text for path in run.options.exclude for text in ("--exclude", path)]
    commands = [report.command("ml.tracking", run.folder)]
    if not run.tracker.has_sent(run.folder / BUNDLE_FOLDER):
        commands += [
            report.command("ml.registry", "register", run.folder),
            report.command("ml.registry", "gate", "--data", run.options.data, *exclude),
        ]
    lines = ["", "Some results could not be sent to MLflow; they are kept:", *(f"  {item}" for item in unsent)]
    lines += [f"The bundle is in {run.folder / BUNDLE_FOLDER}. Later:", *(f"  {command}" for command in commands)]
    return "\n".join(lines)
