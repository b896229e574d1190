"""Training learns, stops, keeps the best weights, and resumes where it was interrupted."""

import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from ml.model.classifier import build
from ml.training.checkpoint import CHECKPOINT, CheckpointError
from ml.training.loader import plain_batches, training_batches
from ml.training.state import Epoch, TrainingError, TrainingState
from ml.training.temperature_scaling import fit_temperature
from ml.training.trainer import fit

CPU = torch.device("cpu")


def train(config, pixels, folder, **more):
    torch.manual_seed(config.seed)
    return fit(build(config.architecture, 2, config.weights), *pixels, config, CPU, folder, **more)


def without_speeds(history):
    speeds = ("images_per_second", "loader_images_per_second", "step_images_per_second")
    return [replace(epoch, **dict.fromkeys(speeds, 0)) for epoch in history]


@pytest.fixture(scope="module")
def full(config):
    """Settings with every kind of augmentation."""
    return replace(config, train_size=48, first_size=32, rotation=10, degrade=0.3, grey=0.1, erase=0.3, mix=0.8)


@pytest.fixture
def quick(config):
    """Settings with two steps per epoch."""
    return replace(config, batch=50)


@pytest.fixture(scope="module")
def whole(full, pixels, tmp_path_factory):
    """An uninterrupted run: its result, reported epochs, seeds and folder."""
    reported, seeds, folder = [], [], tmp_path_factory.mktemp("whole")

    def batches(data, config, side, generator, *more):
        seeds.append(generator.initial_seed())
        return training_batches(data, config, side, generator, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ml.training.epoch.training_batches", batches)
        patch.setattr("ml.training.state.mixed_precision", lambda _: None)  # to compare to the last digits
        return train(full, pixels, folder, on_epoch=reported.append), reported, seeds, folder


@pytest.fixture
def fake_epochs(monkeypatch):
    """Replace epochs by given validation losses."""

    def fake(*losses):
        def run_epoch(state, _):
            epoch = Epoch(state.epoch + 1, 1, 1, losses[state.epoch], 1, 100, 1)
            state.complete(epoch)
            return epoch

        monkeypatch.setattr("ml.training.trainer.run_epoch", run_epoch)

    return fake


def test_fit_learns_and_reports_every_epoch(whole):
    result, reported, seeds, _ = whole
    assert result.ending == "all epochs done" and reported == result.history
    assert [(e.epoch, e.side) for e in result.history] == [(1, 32), (2, 32), (3, 48), (4, 48)]
    assert result.history[-1].validation_accuracy > 0.9
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert all(e.images_per_second > 0 and e.loader_images_per_second > 0 for e in result.history)
    assert len(set(seeds)) == 4, "an epoch repeats the augmentation of another"


def test_best_weights_are_the_averaged_ones_that_were_validated(whole, config, pixels):
    result, *_, folder = whole
    lowest = min(result.history, key=lambda epoch: epoch.validation_loss)
    assert result.best_epoch == lowest.epoch
    network = build(config.architecture, 2, config.weights)
    network.load_state_dict(result.best)
    with torch.inference_mode():
        ((images, labels),) = plain_batches(pixels[1], CPU)
        logits = network.eval()(images)
    loss = functional.cross_entropy(logits / fit_temperature(logits, labels), labels).item()
    assert loss == pytest.approx(lowest.validation_loss, rel=1e-4)
    assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(lowest.validation_accuracy)
    last_step = torch.load(folder / CHECKPOINT)["network"]
    assert not torch.equal(result.best["head.weight"], last_step["head.weight"]), "not an average"


def test_resumed_run_equals_the_uninterrupted_one(whole, full, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("ml.training.state.mixed_precision", lambda _: None)

    def stop_after_two(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    first = train(full, pixels, tmp_path, on_epoch=stop_after_two)
    assert first.ending == "stopped by Ctrl-C" and len(first.history) == 2
    reported = []
    rest, expected = train(full, pixels, tmp_path, resume=True, on_epoch=reported.append), whole[0]
    assert [e.epoch for e in reported] == [3, 4]
    assert without_speeds(rest.history) == without_speeds(expected.history)
    assert (rest.best_epoch, rest.ending) == (expected.best_epoch, expected.ending)
    assert rest.best.keys() == expected.best.keys()
    assert all(torch.equal(tensor, expected.best[name]) for name, tensor in rest.best.items())


def test_finished_run_resumed_trains_no_more(whole, full, pixels, tmp_path):
    shutil.copytree(whole[3], tmp_path, dirs_exist_ok=True)
    reported = []
    again = train(full, pixels, tmp_path, resume=True, on_epoch=reported.append)
    assert not reported and again.history == whole[0].history and again.ending == "all epochs done"
    assert all(torch.equal(tensor, whole[0].best[name]) for name, tensor in again.best.items())
    with pytest.raises(CheckpointError, match="other settings"):
        train(replace(full, batch=8), pixels, tmp_path, resume=True)


def test_validation_loss_does_not_depend_on_boldness(whole, config, pixels):
    losses = []
    for boldness in (1, 0.2):
        network = build(config.architecture, 2, config.weights)
        network.load_state_dict(whole[0].best)
        with torch.no_grad():
            network.head.weight *= boldness
            network.head.bias *= boldness
        losses.append(TrainingState(network, *pixels, config, CPU).validate()[0])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_train_step_mixes_labels_except_in_the_last_epochs(config, pixels, monkeypatch):
    targets = []
    cross_entropy = functional.cross_entropy
    monkeypatch.setattr(functional, "cross_entropy", lambda *a, **k: (targets.append(a[1]), cross_entropy(*a, **k))[1])
    state = TrainingState(build(config.architecture, 2, config.weights), *pixels, replace(config, mix=1.0), CPU)
    batch = next(training_batches(pixels[0], config, 32, torch.Generator().manual_seed(0), CPU))
    for state.epoch in (0, config.epochs - 1):
        state.train_step(*batch)
    assert targets[0].shape == (config.batch, 2) and targets[0].unique().numel() > 2
    assert targets[1].shape == (config.batch,)


def test_early_stopping_survives_a_resume(quick, pixels, tmp_path, fake_epochs):
    config = replace(quick, epochs=30, patience=2)
    fake_epochs(0.5, 0.4, 0.6, 0.5)
    result = train(config, pixels, tmp_path)
    assert result.ending == "no lower validation loss for 2 epochs"
    assert len(result.history) == 4 and result.best_epoch == 2
    again = train(config, pixels, tmp_path, resume=True)
    assert again.ending == result.ending and again.history == result.history


def test_every_process_knows_how_good_the_weights_before_were(quick, pixels, tmp_path, fake_epochs, monkeypatch):
    monkeypatch.setattr("ml.training.distributed.is_main_process", lambda: False)
    monkeypatch.setattr("ml.training.distributed.broadcast_from_main", lambda _: (0.1, 1.0))
    fake_epochs(0.2, 0.3, 0.4)
    config = replace(quick, epochs=30, patience=2, weights="checkpoint.pt")
    network = build(config.architecture, 2, quick.weights)
    result = fit(network, *pixels, config, CPU, tmp_path)
    assert result.best_epoch == 0 and len(result.history) == 2, "it goes on after the main process has stopped"


def test_ctrl_c_ends_after_the_step_with_the_best_so_far(quick, pixels, tmp_path, monkeypatch):
    steps, optimizer_step = [], torch.optim.AdamW.step

    def step(self, *arguments, **more):
        steps.append(1)
        if len(steps) == 3:  # the first step of the second epoch
            os.kill(os.getpid(), signal.SIGINT)
        return optimizer_step(self, *arguments, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    before = signal.getsignal(signal.SIGINT)
    result = train(quick, pixels, tmp_path)
    assert result.ending == "stopped by Ctrl-C" and result.best_epoch == 1 and result.best
    assert [e.epoch for e in result.history] == [1] and len(steps) == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_second_ctrl_c_interrupts_at_once(quick, pixels, tmp_path, fake_epochs):
    def press_twice(_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second Ctrl-C had no effect")

    fake_epochs(0.5)
    result = train(quick, pixels, tmp_path, on_epoch=press_twice)
    assert result.ending == "stopped by Ctrl-C" and len(result.history) == 1


def test_ctrl_c_before_the_first_epoch_leaves_nothing(quick, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(quick, pixels, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_loss_that_is_not_a_number_ends_the_training(quick, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(functional, "cross_entropy", lambda logits, *_, **__: logits.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"not a number in epoch 1: lower --learning-rate \(it is 0\.002\)"):
        train(quick, pixels, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()
