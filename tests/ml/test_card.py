"""The model card says what the manifest says."""

from dataclasses import asdict

from ml.card import render
from ml.recipe import Recipe
from services.inference.bundle import load
from tests import bundles


def card(tmp_path, **changes) -> str:
    return render(load(bundles.write(tmp_path / "bundle", **changes)).manifest)


def test_the_card_has_what_a_person_asks_for(tmp_path):
    text = card(tmp_path)
    for part in (
        "# colours 1\n",
        "Tells red, green from blue on pictures of 32 ×\n32 pixels (resize rule: stretch)",
        "On 3 held-out pictures",
        "| accuracy | 100.00% (95 % interval 40.00% to 100.00%) |",
        "| recall of red | 100.00% |\n| recall of green | 100.00% |",
        "| log loss | 0.0100 |",
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
    assert "Data: pets (photographs), from https://example.org/pets.zip." in text
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
        "recipe": asdict(Recipe(architecture="resnet18_slim", train_size=96)),
    }
    text = card(tmp_path, training=training)
    assert 'make train DATA=<the pictures> ARGS="--architecture resnet18_slim --train-size 96"\n' in text
    assert "--exclude" not in text
    assert "make train" not in card(tmp_path)
