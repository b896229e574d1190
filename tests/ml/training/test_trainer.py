"""The training loop: it learns, stops, keeps the best, and goes on where it was cut off."""

import os
import signal
from dataclasses import asdict, replace

import pytest
import torch

from ml.model.architectures import build
from ml.training import checkpoint
from ml.training.checkpoint import CHECKPOINT, CheckpointError
from ml.training.epoch import TrainingError
from ml.training.loader import plain_batches, training_batches
from ml.training.temperature_scaling import fit_temperature
from ml.training.trainer import fit

CPU = torch.device("cpu")


def train(recipe, pixels, folder, **more):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(recipe.seed)
    return fit(build(recipe.architecture, 2), *pixels, recipe, CPU, folder, **more)


def same(history):
    """A history but for its speeds, which no two runs share."""
    speeds = ("images_per_second", "loader_images_per_second", "step_images_per_second")
    return [replace(epoch, **dict.fromkeys(speeds, 0)) for epoch in history]


@pytest.fixture(scope="module")
def unbroken(recipe, pixels, tmp_path_factory):
    """A whole run, with what it told about each epoch."""
    told = []
    fitted = train(recipe, pixels, tmp_path_factory.mktemp("unbroken"), on_epoch=told.append)
    return fitted, told


def test_it_learns_what_is_easy(unbroken, recipe, pixels):
    fitted, told = unbroken
    assert fitted.ending == "all epochs done"
    assert [e.epoch for e in fitted.history] == [1, 2, 3, 4] and told == fitted.history
    assert fitted.history[-1].validation_accuracy > 0.95
    assert fitted.history[-1].train_loss < fitted.history[0].train_loss
    assert all(e.images_per_second > 0 for e in fitted.history)


def test_the_best_weights_are_the_averaged_ones_that_were_validated(recipe, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("ml.training.epoch.mixed_precision", lambda _: None)  # to compare to the last digits
    fitted = train(replace(recipe, epochs=2), pixels, tmp_path)
    lowest = min(fitted.history, key=lambda epoch: epoch.validation_loss)
    assert fitted.best_epoch == lowest.epoch
    network = build(recipe.architecture, 2)
    network.load_state_dict(fitted.best)
    with torch.inference_mode():
        ((pictures, labels),) = plain_batches(pixels[1], 1000, CPU)
        logits = network.eval()(pictures)
    loss = torch.nn.functional.cross_entropy(logits / fit_temperature(logits, labels), labels).item()
    assert loss == pytest.approx(lowest.validation_loss, rel=1e-4)
    assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(lowest.validation_accuracy)
    last_step = torch.load(tmp_path / CHECKPOINT)["network"]
    assert not torch.equal(fitted.best["fc.weight"], last_step["fc.weight"]), "not an average"


def test_a_network_is_not_chosen_for_being_bold(unbroken, recipe, pixels, tmp_path):
    losses = []
    for boldness in (1, 0.2):
        network = build(recipe.architecture, 2)
        network.load_state_dict(unbroken[0].best)
        with torch.no_grad():
            network.fc.weight *= boldness
            network.fc.bias *= boldness
        still = replace(recipe, epochs=1, learning_rate=1e-12)
        (epoch,) = fit(network, *pixels, still, CPU, tmp_path).history
        losses.append(epoch.validation_loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_each_epoch_draws_anew(recipe, pixels, tmp_path, monkeypatch):
    seeds = []

    def batches(data, recipe, side, generator, device, part):
        seeds.append(generator.initial_seed())
        return training_batches(data, recipe, side, generator, device, part)

    monkeypatch.setattr("ml.training.epoch.training_batches", batches)
    train(replace(recipe, epochs=3), pixels, tmp_path)
    assert len(set(seeds)) == 3


def test_a_resumed_run_is_the_unbroken_one(unbroken, recipe, pixels, tmp_path):
    whole, _ = unbroken

    def stop_after_two(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    first = train(recipe, pixels, tmp_path, on_epoch=stop_after_two)
    assert first.ending == "stopped by Ctrl-C" and len(first.history) == 2
    told = []
    rest = train(recipe, pixels, tmp_path, resume=True, on_epoch=told.append)
    assert [e.epoch for e in told] == [3, 4]
    assert same(rest.history) == same(whole.history)
    assert (rest.best_epoch, rest.ending) == (whole.best_epoch, whole.ending)
    assert rest.best.keys() == whole.best.keys()
    assert all(torch.equal(tensor, whole.best[name]) for name, tensor in rest.best.items())


def test_everything_at_once_learns_and_resumes_as_unbroken(recipe, pixels, tmp_path):
    full = replace(recipe, train_size=48, first_size=32, rotation=10, degrade=0.3, grey=0.1, erase=0.3, mix=0.8)
    whole = train(full, pixels, tmp_path / "whole")
    assert [e.side for e in whole.history] == [32, 32, 48, 48]
    assert whole.history[-1].validation_accuracy > 0.9
    assert all(e.loader_images_per_second > 0 and e.step_images_per_second > 0 for e in whole.history)

    def stop_after_two(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    train(full, pixels, tmp_path / "cut", on_epoch=stop_after_two)
    rest = train(full, pixels, tmp_path / "cut", resume=True)
    assert same(rest.history) == same(whole.history)


def test_mixing_learns_from_shares_of_labels(recipe, pixels, tmp_path, monkeypatch):
    targets = []
    cross_entropy = torch.nn.functional.cross_entropy

    def seen(logits, labels, **more):
        if "label_smoothing" in more and logits.requires_grad:
            targets.append(labels)
        return cross_entropy(logits, labels, **more)

    monkeypatch.setattr("torch.nn.functional.cross_entropy", seen)
    train(replace(recipe, epochs=2, mix=1.0), pixels, tmp_path)
    steps = len(pixels[0]) // recipe.batch
    assert all(t.shape == (recipe.batch, 2) for t in targets[:steps]) and targets[0].unique().numel() > 2
    assert all(t.shape == (recipe.batch,) for t in targets[steps:]), "the last epoch learns from whole pictures"


def test_another_seed_is_another_run(unbroken, recipe, pixels, tmp_path):
    other = train(replace(recipe, seed=1, epochs=1), pixels, tmp_path)
    assert other.history[0].train_loss != unbroken[0].history[0].train_loss


def test_a_finished_run_that_is_resumed_trains_no_more(recipe, pixels, tmp_path):
    short = replace(recipe, epochs=1)
    done = train(short, pixels, tmp_path)
    told = []
    again = train(short, pixels, tmp_path, resume=True, on_epoch=told.append)
    assert not told and again.history == done.history and again.ending == "all epochs done"
    assert all(torch.equal(tensor, done.best[name]) for name, tensor in again.best.items())


def test_it_stops_early_and_stays_stopped(recipe, pixels, tmp_path):
    # Steps too small to change the loss for the better: no epoch after the first is better by more than chance.
    stuck = replace(recipe, epochs=30, patience=2, learning_rate=1e-8)
    fitted = train(stuck, pixels, tmp_path)
    assert fitted.ending == "no lower validation loss for 2 epochs"
    assert len(fitted.history) == fitted.best_epoch + 2 < 30
    again = train(stuck, pixels, tmp_path, resume=True)
    assert again.ending == fitted.ending and again.history == fitted.history


def test_ctrl_c_ends_after_the_step_with_the_best_so_far(recipe, pixels, tmp_path, monkeypatch):
    steps = []
    optimizer_step = torch.optim.AdamW.step

    def step(self, *arguments, **more):
        steps.append(1)
        if len(steps) == len(pixels[0]) // recipe.batch + 2:  # the second step of the second epoch
            os.kill(os.getpid(), signal.SIGINT)
        return optimizer_step(self, *arguments, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    before = signal.getsignal(signal.SIGINT)
    fitted = train(recipe, pixels, tmp_path)
    assert fitted.ending == "stopped by Ctrl-C"
    assert [e.epoch for e in fitted.history] == [1] and fitted.best_epoch == 1 and fitted.best
    assert len(steps) == len(pixels[0]) // recipe.batch + 2, "the step was not the last"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_does_not_wait(recipe, pixels, tmp_path):
    def press_twice(_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second Ctrl-C was not heard")

    fitted = train(recipe, pixels, tmp_path, on_epoch=press_twice)
    assert fitted.ending == "stopped by Ctrl-C" and len(fitted.history) == 1


def test_ctrl_c_before_the_first_epoch_leaves_nothing(recipe, pixels, tmp_path, monkeypatch):
    def step(self, *_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, pixels, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_ends_the_training(recipe, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.nn.functional.cross_entropy", lambda logits, *_, **__: logits.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"not a number in epoch 1: lower --learning-rate \(it is 0\.002\)"):
        train(recipe, pixels, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_an_interrupted_write_keeps_the_earlier_checkpoint(recipe, tmp_path, monkeypatch):
    path = tmp_path / CHECKPOINT
    checkpoint.write(path, recipe, {"epoch": 1})

    def half(_, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("torch.save", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(path, recipe, {"epoch": 2})
    assert checkpoint.read(path) == {"recipe": asdict(recipe), "epoch": 1}


def test_a_checkpoint_of_other_data_or_settings_is_refused(recipe, pixels, tmp_path):
    checkpoint.write(tmp_path / CHECKPOINT, recipe, {})
    other = replace(recipe, data_fingerprint="other", batch=8)
    with pytest.raises(CheckpointError, match=r"another recipe \(different: data_fingerprint, batch\): resume with"):
        train(other, pixels, tmp_path, resume=True)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04 half a checkpoint"])
def test_a_damaged_checkpoint_is_refused_in_one_line(content, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read as a checkpoint \(.+\)\.$") as caught:
        checkpoint.read(tmp_path / CHECKPOINT)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_checkpoint_or_missing_is_refused(recipe, tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        checkpoint.read(tmp_path / CHECKPOINT, recipe)
    with pytest.raises(CheckpointError, match="does not exist: no epoch was finished there"):
        checkpoint.read(tmp_path / "none.pt", recipe)
