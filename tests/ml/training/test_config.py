"""Settings from the command line."""

from dataclasses import fields, replace

import pytest

from ml.errors import UserError
from ml.training.config import FROM_SCRATCH, TrainingConfig, fine_tuning_epochs, from_options
from tests.ml.conftest import parse


def test_flags_set_every_setting_over_the_defaults():
    assert from_options(parse(), "f", 100) == TrainingConfig("f")
    assert from_options(parse("--size", "96"), "f", 100).train_size == 96
    given = {
        "architecture": "resnet18",
        "weights": "w.pt",
        "resize": "stretch",
        "size": 64,
        "train_size": 48,
        "first_size": 32,
        "crop": 0.5,
        "rotation": 20.0,
        "degrade": 0.1,
        "grey": 0.2,
        "erase": 0.3,
        "mix": 0.4,
        "views": 2,
        "epochs": 3,
        "batch": 8,
        "learning_rate": 0.01,
        "layer_decay": 0.5,
        "frozen": 2,
        "weight_decay": 0.0,
        "label_smoothing": 0.2,
        "ema": 0.5,
        "blend": 0.3,
        "serve_crop": 0.75,
        "patience": 2,
        "seed": 7,
    }
    assert {"data_fingerprint", *given} == {field.name for field in fields(TrainingConfig)}
    flags = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert from_options(parse(*flags), "f", 100) == TrainingConfig("f", **given)


def test_number_of_images_decides_about_fine_tuning():
    epochs = [fine_tuning_epochs(images) for images in (2, 999, 1000, 5000, 8000, 20_000, 10**6)]
    assert epochs == [0, 0, 8, 8, 5, 2, 2]
    for weights in ("pretrained", "checkpoint.pt"):
        configs = [from_options(parse("--weights", weights), "f", images) for images in (100, 8000)]
        assert [(config.epochs, config.serve_crop) for config in configs] == [(0, 1.0), (5, 0.875)]
    head_alone, tuned = from_options(parse("--epochs", "0"), "f", 10**6), from_options(parse("--epochs", "3"), "f", 100)
    assert (head_alone.epochs, head_alone.serve_crop) == (0, 1.0)
    assert (tuned.epochs, tuned.serve_crop) == (3, 0.875)


def test_training_from_scratch_has_its_own_defaults():
    config = from_options(parse("--weights", "scratch"), "f", 100)
    assert {name: getattr(config, name) for name in FROM_SCRATCH} == FROM_SCRATCH
    assert from_options(parse("--weights", "scratch", "--batch", "8"), "f", 100).batch == 8
    with pytest.raises(UserError, match="--weights scratch needs --epochs of 1 or more"):
        from_options(parse("--weights", "scratch", "--epochs", "0"), "f", 100)
    for flag in (["--frozen", "3"], ["--blend", "0.5"]):
        with pytest.raises(UserError, match="--weights scratch does not go with --frozen or --blend"):
            from_options(parse("--weights", "scratch", *flag), "f", 100)
        with pytest.raises(UserError, match="--weights scratch does not go with --frozen or --blend"):
            from_options(parse(*flag), "f", 0, earlier=config)
    assert from_options(parse("--views", "2"), "f", 0, earlier=config) == replace(config, views=2)


def test_older_name_of_the_pretrained_weights_is_accepted():
    assert from_options(parse("--weights", "imagenet"), "f", 100).weights == "pretrained"


def test_resumed_run_keeps_its_settings_except_used_flags():
    earlier = TrainingConfig("old", epochs=3, size=64, train_size=48)
    assert from_options(parse(), "old", 9999, earlier) == earlier
    changed = TrainingConfig("new", epochs=5, size=64, train_size=48)
    assert from_options(parse("--epochs", "5"), "new", 9999, earlier) == changed


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--epochs", "-1", "'-1' is not a whole number from 0 up"),
        ("--epochs", "2.5", "'2.5' is not a whole number from 0 up"),
        ("--batch", "1", "'1' is not a whole number from 2 up"),
        ("--size", "16", "'16' is not a whole number from 32 to 1024"),
        ("--train-size", "9999", "'9999' is not a whole number from 32 to 1024"),
        ("--mix", "2", "'2' is not a number from 0 to 1"),
        ("--learning-rate", "nan", "'nan' is not a number from 1e-08 to 100"),
        ("--learning-rate", "fast", "'fast' is not a number from 1e-08 to 100"),
        ("--blend", "1.1", "'1.1' is not a number from 0 to 1"),
        ("--layer-decay", "0", "'0' is not a number from 0.01 to 1"),
        ("--resize", "squash", "invalid choice: 'squash'"),
    ],
)
def test_invalid_value_is_refused(flag, value, reason, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(flag, value)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_side_grows_in_steps_and_stays():
    sides = [TrainingConfig(epochs=20, first_size=64, train_size=112).side(epoch) for epoch in range(20)]
    assert sides == sorted(sides) and set(sides) == {64, 80, 96, 112}
    assert sides.count(64) == sides.count(80) == sides.count(96) == 4
    assert [TrainingConfig(epochs=1, first_size=64, train_size=96).side(0)] == [64]
    for first in (0, 96, 128):
        assert {TrainingConfig(epochs=9, first_size=first, train_size=96).side(epoch) for epoch in range(9)} == {96}


def test_last_epochs_do_not_mix():
    mixes = [TrainingConfig(epochs=20, mix=0.5).mixes(epoch) for epoch in range(20)]
    assert mixes == [True] * 17 + [False] * 3
    assert not any(TrainingConfig(epochs=20).mixes(epoch) for epoch in range(20))
