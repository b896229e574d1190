"""The model card says what the manifest says."""

from dataclasses import asdict

from bundle.load import load
from ml.export.model_card import render
from ml.training.config import TrainingConfig
from tests import bundles


def card(tmp_path, **changes) -> str:
    return render(load(bundles.write(tmp_path / "bundle", **changes)).manifest)


def test_the_card_has_what_a_person_asks_for(tmp_path):
    text = card(tmp_path)
    for part in (
        "# colours 1\n",
        "Tells red, green from blue on pictures scaled to 32 × 32 pixels (resize rule: stretch)",
        "On 3 held-out pictures",
        "| accuracy | 100.00% | 40.00% to 100.00% |",
        "| recall of red | 100.00% |  |\n| recall of green | 100.00% |  |",
        "| log loss | 0.0100 |  |",
        "`mean colour`, initial weights: scratch, 0 epochs, seed 0,\non 2026-11-01",
        "| split | red | green | blue |\n| --- | --- | --- | --- |\n| test | 1 | 1 | 1 |",
        "Left out: none. Fingerprint `0000000000000000…`",
        "not for real use",
    ):
        assert part in text


def test_photographs_from_an_address_with_files_left_out(tmp_path):
    dataset = {
        "name": "pets",
        "source": "https://example.org/pets.zip",
        "synthetic": False,
        "fingerprint": "a" * 64,
        "counts": {"test": {"red": 1200, "green": 2, "blue": 3}},
        "left_out": {"duplicate": 1480, "empty": 2},
    }
    text = card(tmp_path, dataset=dataset)
    assert "pets (photographs), from https://example.org/pets.zip. Split by" in text
    assert "| test | 1,200 | 2 | 3 |" in text
    assert "Left out: 1,480 duplicate, 2 empty." in text
    assert "not for real use" not in text


def test_the_card_says_how_to_train_it_again(tmp_path):
    training = {
        "run_id": "r",
        "git_commit": "c",
        "architecture": "resnet18_slim",
        "initial_weights": "scratch",
        "epochs": 3,
        "seed": 0,
        "recipe": asdict(TrainingConfig(architecture="resnet18_slim", train_size=96)),
    }
    text = card(tmp_path, training=training, precision="fp16", input={"size": 128, "resize": "stretch"})
    assert 'make train DATA=<the pictures> ARGS="--architecture resnet18_slim --train-size 96"\n' in text
    smaller = card(tmp_path, training=training, precision="int8")
    assert "--train-size 96 --precision int8 --serve-size 32" in smaller
    twice = card(tmp_path, training=training, precision="fp16", mirrored=True)
    assert "--mirrored" in twice.split("make train")[1] and "mirror image" in twice and "mirror" not in text
    assert "--exclude" not in text
    assert "make train" not in card(tmp_path)


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


def test_the_card_shows_calibration_mistakes_and_intervals(tmp_path):
    text = card(tmp_path, metrics=METRICS)
    for part in (
        "| recall of red | 90.00% | 80.00% to 96.00% |",
        "| flagged as uncertain | 1.10% |",
        'x-axis "mean confidence of a bin" ["61%", "98%"]',
        "bar [55.0, 99.0]\n  line [61.0, 98.0]",
        "| 98.0% | 99.0% | 1,180 |",
        "| `red/7.jpg` | red | blue, 98.7% | dark, busy |",
        "| `red/8.jpg` | red | blue, 90.0% | nothing unusual |",
    ):
        assert part in text


def test_the_card_shows_spoiled_photos_and_pictures_of_neither(tmp_path):
    text = card(
        tmp_path,
        acceptance={"metrics": METRICS, "corrupted": {"blurred": 0.91}},
        neither={"noise": {"pictures": 50, "uncertain": 0.84, "sure": 0.02}},
    )
    for part in (
        "On 200 other photos at their own size and shape",
        "| nothing | 95.00% |\n| blurred | 91.00% |",
        "confidence is below 40.0%, or\nthe picture is unlike those it learned from (distance over 0.99)",
        "| noise | 50 | 84% | 2% |",
    ):
        assert part in text
    without = card(tmp_path, uncertainty=None)
    assert "## Neither" not in without and "no proof that the picture shows one of them" in without


def test_the_card_prints_the_lists_of_what_was_left_out(tmp_path):
    dataset = {
        "name": "pets",
        "source": None,
        "synthetic": False,
        "fingerprint": "a" * 64,
        "counts": {},
        "left_out": {"excluded": 3},
        "lists": {
            "models/wrong.txt": "# People\nred/1.jpg\n",
            "long.txt": "\n".join(f"red/{i}.jpg" for i in range(100)),
        },
    }
    training = {
        "run_id": None,
        "git_commit": "0123456789abcdef",
        "architecture": "resnet20_lite",
        "initial_weights": "scratch",
        "epochs": 3,
        "seed": 0,
        "recipe": {"mix": 0.5},
        "machine": "A Processor, 1 threads",
        "hours": 2.5,
    }
    text = card(tmp_path, dataset=dataset, training=training, precision="fp16")
    for part in (
        "`models/wrong.txt` kept out:\n\n```text\n# People\nred/1.jpg\n```",
        "red/79.jpg\n… and 20 more lines\n```",
        "It took 2.5 hours on A Processor, 1 threads.",
        "at commit `0123456789ab`",
        'ARGS="--mix 0.5 --exclude models/wrong.txt --exclude long.txt"',
    ):
        assert part in text
    assert "red/80.jpg" not in text
