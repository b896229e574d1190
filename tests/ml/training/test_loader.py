"""Batches: the right pictures with the right labels, decoded once, augmented reproducibly."""

from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch

from bundle.preprocess import ImageError, decode
from ml.data.dataset import DataError
from ml.model.architectures import MEAN, STD
from ml.training import loader
from ml.training.loader import Ahead, Pixels, plain_batches, training_batches

CPU = torch.device("cpu")


def epoch(data, recipe, seed=0):
    return list(training_batches(data, recipe, recipe.train_size, torch.Generator().manual_seed(seed), CPU))


def colour_of(pictures: torch.Tensor) -> torch.Tensor:
    """1 where a normalised picture is more red than blue, as the labels are."""
    pixels = pictures * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    red, _, blue = pixels.mean((2, 3)).T
    return (red > blue).long()


def test_pixels_are_the_services(pixels, colours, recipe):
    _, validation = pixels
    expected = [decode(p.path.read_bytes(), recipe.size, recipe.resize) for p in colours.split("validation")]
    np.testing.assert_array_equal(validation.pixels, np.stack(expected))
    assert validation.labels.tolist() == [p.label for p in colours.split("validation")]


def test_the_same_generator_gives_the_same_batches(pixels, recipe):
    first, again, other = epoch(pixels[0], recipe), epoch(pixels[0], recipe), epoch(pixels[0], recipe, seed=1)
    for (pictures, labels), (same, same_labels) in zip(first, again, strict=True):
        assert torch.equal(pictures, same) and torch.equal(labels, same_labels)
    assert not torch.equal(first[0][0], other[0][0])


def test_labels_follow_their_pictures_through_shuffling(pixels, recipe):
    batches = epoch(pixels[0], recipe)
    assert all(torch.equal(colour_of(pictures), labels) for pictures, labels in batches)
    assert 0 < float(batches[0][1].float().mean()) < 1, "the first batch has one class only: not shuffled"


def test_shapes_and_a_last_batch_that_is_too_small(pixels, recipe):
    recipe = replace(recipe, batch=len(pixels[0]) // 3 - 1)
    batches = epoch(pixels[0], recipe)
    assert len(batches) == 3
    for pictures, labels in batches:
        assert pictures.shape == (recipe.batch, 3, recipe.train_size, recipe.train_size)
        assert pictures.is_contiguous(memory_format=torch.channels_last)
        assert labels.shape == (recipe.batch,)


def test_an_only_batch_may_be_small(pixels, recipe):
    (batch,) = epoch(pixels[0], replace(recipe, batch=1000))
    assert len(batch[1]) == len(pixels[0])


def test_augmented_pictures_differ_but_not_too_much(pixels, recipe):
    pictures = torch.cat([pictures for pictures, _ in epoch(pixels[0], recipe)])
    again = torch.cat([pictures for pictures, _ in epoch(pixels[0], recipe, seed=1)])
    plain = torch.cat([pictures for pictures, _ in plain_batches(pixels[0], 64, CPU)])
    # The colour of the set survives, single pictures vary by the jitter, and nothing leaves the range of pixels.
    torch.testing.assert_close(pictures.mean((0, 2, 3)), plain.mean((0, 2, 3)), atol=0.3, rtol=0)
    assert pictures.mean((1, 2, 3)).std() > plain.mean((1, 2, 3)).std()
    darkest, brightest = -torch.tensor(MEAN) / torch.tensor(STD), (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    for augmented in (pictures, again):
        assert (augmented.amin((0, 2, 3)) >= darkest - 1e-4).all()
        assert (augmented.amax((0, 2, 3)) <= brightest + 1e-4).all()


def test_flips_and_crops_happen(recipe):
    # Left black, right white: a flip shows in the halves, a crop in where the edge is.
    data = object.__new__(Pixels)
    data.pixels = np.zeros((64, 40, 40, 3), np.uint8)
    data.pixels[:, :, 20:] = 255
    data.labels = torch.zeros(64, dtype=torch.long)
    (batch,) = epoch(data, replace(recipe, batch=64, crop=0.9))
    halves = batch[0][..., :10].mean((1, 2, 3)) > batch[0][..., -10:].mean((1, 2, 3))
    assert 16 < int(halves.sum()) < 48
    (batch,) = epoch(data, replace(recipe, batch=64, crop=0.1))
    assert batch[0].mean((1, 2, 3)).std() > 0.3


def test_a_picture_fares_the_same_whatever_else_is_in_its_batch(pixels, recipe):
    recipe = replace(recipe, rotation=20, degrade=0.5, erase=0.5)
    small = epoch(pixels[0], replace(recipe, batch=10))[0][0]
    large = epoch(pixels[0], replace(recipe, batch=30))[0][0]
    distances = (small[:, None] - large[None]).abs().amax((2, 3, 4))
    assert (distances.amin(1) < 1e-4).all(), "the first ten of an epoch are among its first thirty"


def test_batches_made_ahead_are_the_same_in_order():
    made = []

    def items():
        for i in range(9):
            made.append(i)
            yield i

    ahead = Ahead(items(), ahead=3)
    taken = iter(ahead)
    assert next(taken) == 0
    assert [*taken] == list(range(1, 9)) == made[1:]
    assert ahead.busy > 0 and ahead.waited >= 0


def test_only_so_many_batches_are_made_ahead():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    for taken, _ in enumerate(Ahead(items(), ahead=3), 1):
        assert len(made) <= taken + 3
        if taken == 5:
            break
    assert 5 <= len(made) <= 8


def test_an_error_in_making_a_batch_is_raised_where_it_is_used():
    def items():
        yield 1
        raise OSError("gone")

    taken = iter(Ahead(items()))
    assert next(taken) == 1
    with pytest.raises(OSError, match="gone"):
        next(taken)


def test_plain_batches_give_all_in_order(pixels):
    _, validation = pixels
    batches = list(plain_batches(validation, 5, CPU))
    assert torch.equal(torch.cat([labels for _, labels in batches]), validation.labels)
    assert [len(labels) for _, labels in batches[:-1]] == [5] * (len(batches) - 1)
    assert torch.equal(colour_of(torch.cat([pictures for pictures, _ in batches])), validation.labels)


@pytest.fixture
def decoded(monkeypatch):
    """The paths that were decoded."""
    paths = []

    def counting(path, side, resize):
        paths.append(path)
        return decode(path.read_bytes(), side, resize)

    monkeypatch.setattr(loader, "_decode_one", counting)
    return paths


def test_pictures_are_decoded_once(colours, tmp_path, decoded):
    pictures = colours.split("test")
    first = Pixels(pictures, 24, "stretch", tmp_path, "pictures")
    assert sorted(decoded) == sorted(p.path for p in pictures)
    decoded.clear()
    again = Pixels(pictures, 24, "stretch", tmp_path, "pictures")
    assert not decoded
    np.testing.assert_array_equal(first.pixels, again.pixels)


def test_other_pictures_sides_and_rules_are_decoded_anew(colours, tmp_path, decoded):
    pictures = colours.split("test")
    Pixels(pictures, 24, "stretch", tmp_path, "pictures")
    for others, side, resize in (
        (pictures[1:], 24, "stretch"),
        (tuple(reversed(pictures)), 24, "stretch"),
        (pictures, 28, "stretch"),
        (pictures, 24, "center-crop"),
    ):
        decoded.clear()
        Pixels(others, side, resize, tmp_path, "pictures")
        assert len(decoded) == len(others)
    decoded.clear()
    moved = [replace(p, path=p.path.with_name("moved")) for p in pictures]
    assert len(Pixels(moved, 24, "stretch", tmp_path, "pictures")) == len(pictures)
    assert not decoded, "the cache goes by content, not by name"


def test_an_interruption_leaves_no_half_cache(colours, tmp_path, monkeypatch):
    pictures = colours.split("test")

    def interrupt(path, side, resize):
        if path == pictures[-1].path:
            raise KeyboardInterrupt
        return decode(path.read_bytes(), side, resize)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loader, "_decode_one", interrupt)
        Pixels(pictures, 24, "stretch", tmp_path, "pictures")
    assert list(tmp_path.iterdir()) == []
    assert Pixels(pictures, 24, "stretch", tmp_path, "pictures").pixels[-1].any()


def test_a_picture_that_broke_since_the_scan_is_named(colours, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no more")
    pictures = [*colours.split("test"), replace(colours.images[0], path=tmp_path / "broken.jpg", sha256="other")]
    with pytest.raises(ImageError, match=r"broken\.jpg: This is not a picture"):
        Pixels(pictures, 24, "stretch", tmp_path / "cache", "pictures")


def test_a_full_disk_is_named_before_decoding(colours, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(DataError, match=r"needs 0\.0 GB.*--cache"):
        Pixels(colours.split("test"), 24, "stretch", tmp_path, "pictures")
