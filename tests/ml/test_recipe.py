"""Settings from the command line."""

import argparse

import pytest

from ml.recipe import Recipe, add_arguments, from_options


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_no_flags_give_the_defaults():
    assert from_options(parse(), "f") == Recipe(data_fingerprint="f")


def test_training_crops_are_as_large_as_the_pictures_unless_said():
    assert from_options(parse("--size", "96"), "f").train_size == 96
    assert from_options(parse("--size", "96", "--train-size", "64"), "f").train_size == 64


def test_every_setting_has_a_flag_of_its_type():
    given = {
        "architecture": "resnet18",
        "weights": "w.pt",
        "resize": "center-crop",
        "size": 64,
        "train_size": 48,
        "crop": 0.5,
        "epochs": 3,
        "batch": 8,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "label_smoothing": 0.2,
        "ema": 0.5,
        "patience": 2,
        "seed": 7,
    }
    flags = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert from_options(parse(*flags), "f") == Recipe(data_fingerprint="f", **given)


def test_a_resumed_run_keeps_its_settings_but_for_flags_and_data():
    earlier = Recipe(data_fingerprint="old", epochs=3, size=64, train_size=48)
    assert from_options(parse(), "old", earlier) == earlier
    assert from_options(parse("--epochs", "5"), "new", earlier) == Recipe("new", epochs=5, size=64, train_size=48)


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--epochs", "0", "'0' is not a whole number from 1 up"),
        ("--epochs", "2.5", "'2.5' is not a whole number from 1 up"),
        ("--batch", "1", "'1' is not a whole number from 2 up"),
        ("--size", "16", "'16' is not a whole number from 32 to 1024"),
        ("--train-size", "9999", "'9999' is not a whole number from 32 to 1024"),
        ("--crop", "1.5", "'1.5' is not a number from 0.01 to 1"),
        ("--learning-rate", "nan", "'nan' is not a number from 1e-08 to 100"),
        ("--learning-rate", "fast", "'fast' is not a number from 1e-08 to 100"),
        ("--seed", "-1", "'-1' is not a whole number from 0 to 2147483647"),
        ("--architecture", "vgg99", "invalid choice: 'vgg99'"),
        ("--resize", "squash", "invalid choice: 'squash'"),
    ],
)
def test_a_value_that_cannot_work_is_refused_at_once(flag, value, reason, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(flag, value)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err
