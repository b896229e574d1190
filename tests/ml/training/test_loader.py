"""Batches: the right images with the right labels, decoded once, augmented reproducibly."""

from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch

from bundle.preprocess import ImageError, decode
from ml.data.dataset import DataError
from ml.training import loader
from ml.training.loader import AugmentedPixels, Pixels, Prefetcher, plain_batches, steps_per_epoch, training_batches

CPU = torch.device("cpu")


def epoch(data, config, seed=0):
    return list(training_batches(data, config, config.train_size, torch.Generator().manual_seed(seed), CPU))


def is_red(images: torch.Tensor) -> torch.Tensor:
    """Return 1 where an image is more red than blue, as the labels do."""
    red, _, blue = images.mean((2, 3)).T
    return (red > blue).long()


def test_pixels_equal_the_service(pixels, colours, config):
    _, validation = pixels
    images = colours.split("validation")
    expected = [decode(image.path.read_bytes(), config.size, config.resize) for image in images]
    np.testing.assert_array_equal(validation.pixels, np.stack(expected))
    assert validation.labels.tolist() == [image.label for image in images]


def test_same_generator_gives_the_same_batches(pixels, config):
    first, again, other = epoch(pixels[0], config), epoch(pixels[0], config), epoch(pixels[0], config, seed=1)
    for (images, labels), (same, same_labels) in zip(first, again, strict=True):
        assert torch.equal(images, same) and torch.equal(labels, same_labels)
    assert not torch.equal(first[0][0], other[0][0])


def test_labels_follow_their_images_through_shuffling(pixels, config):
    batches = epoch(pixels[0], replace(config, grey=0.0))
    assert all(torch.equal(is_red(images), labels) for images, labels in batches)
    assert 0 < float(batches[0][1].float().mean()) < 1, "the first batch has one class only: not shuffled"


@pytest.mark.parametrize("batch", [2, 7, 16, 32, 1000])
def test_every_image_is_in_one_of_an_epochs_like_batches(pixels, config, batch):
    config, training = replace(config, batch=batch, degrade=0.0), pixels[0]
    batches = epoch(training, config)
    sizes = [len(labels) for _, labels in batches]
    assert len(sizes) == steps_per_epoch(len(training), batch)
    assert sum(sizes) == len(training) and max(sizes) - min(sizes) <= 1 and min(sizes) >= 2
    labels = torch.cat([labels for _, labels in batches])
    assert torch.equal(labels.bincount(), training.labels.bincount())
    for images, _ in batches:
        assert images.shape[1:] == (3, config.train_size, config.train_size) and images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("images", "batch", "processes"), [(11, 2, 1), (3, 2, 2), (9, 4, 4), (9, 8, 8), (1000, 8, 8)])
def test_no_process_is_without_an_image_and_none_has_a_lone_one(images, batch, processes, config):
    data = object.__new__(Pixels)
    data.pixels = np.arange(images, dtype=np.uint16)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    data.pixels, data.labels = (data.pixels % 256).astype(np.uint8), torch.arange(images)
    config = replace(config, batch=batch, degrade=0.0, grey=0.0)
    shares = [
        [
            labels
            for _, labels in training_batches(data, config, 4, torch.Generator().manual_seed(0), CPU, rank, processes)
        ]
        for rank in range(processes)
    ]
    assert {len(share) for share in shares} == {steps_per_epoch(images, batch, processes)}
    steps = [torch.cat(step) for step in zip(*shares, strict=True)]
    assert min(len(step) for step in steps) >= 2
    assert torch.cat(steps).sort().values.tolist() == list(range(images))


def test_augmented_images_keep_range_and_colour(pixels, config):
    images = torch.cat([images for images, _ in epoch(pixels[0], config)])
    plain = torch.cat([images for images, _ in plain_batches(pixels[0], CPU)])
    torch.testing.assert_close(images.mean((0, 2, 3)), plain.mean((0, 2, 3)), atol=20, rtol=0)
    assert images.mean((1, 2, 3)).std() > plain.mean((1, 2, 3)).std()
    assert images.min() >= 0 and images.max() <= 255 and images.max() > 200


def test_flips_and_crops_happen(config):
    # Left black, right white: a flip shows in the halves, a crop in the place of the edge.
    data = object.__new__(Pixels)
    data.pixels = np.zeros((64, 40, 40, 3), np.uint8)
    data.pixels[:, :, 20:] = 255
    data.labels = torch.zeros(64, dtype=torch.long)
    (batch,) = epoch(data, replace(config, batch=64, crop=0.9, degrade=0.0))
    flipped = batch[0][..., :10].mean((1, 2, 3)) > batch[0][..., -10:].mean((1, 2, 3))
    assert 16 < int(flipped.sum()) < 48
    (batch,) = epoch(data, replace(config, batch=64, crop=0.1, degrade=0.0))
    assert batch[0].mean((1, 2, 3)).std() > 20


def test_augmentation_of_an_image_does_not_depend_on_its_batch(pixels, config):
    config = replace(config, rotation=20, degrade=0.5, erase=0.5)
    small = epoch(pixels[0], replace(config, batch=10))[0][0]
    large = epoch(pixels[0], replace(config, batch=30))[0][0]
    distances = (small[:, None] - large[None]).abs().amax((2, 3, 4))
    assert (distances.amin(1) < 1e-2).all(), "the first ten of an epoch are among its first thirty"


def test_views_are_the_same_again_and_others_with_other_settings(pixels, config):
    config = replace(config, rotation=20, degrade=0.5)
    views = AugmentedPixels(pixels[0], config)
    assert views.batch(0, 4).shape == (4, config.size, config.size, 3) and views.side == config.size
    assert np.array_equal(views.batch(2, 4), AugmentedPixels(pixels[0], config).batch(0, 4)[2:])
    others = [replace(config, **change) for change in ({"seed": 1}, {"rotation": 0.0}, {"crop": 0.9}, {"grey": 1.0})]
    paths = {views.path, *(AugmentedPixels(pixels[0], other).path for other in others)}
    assert len(paths) == 1 + len(others), "features of other views would be taken for these"
    assert not np.array_equal(views.batch(0, 4), AugmentedPixels(pixels[0], others[0]).batch(0, 4))
    assert views.labels is pixels[0].labels and views.groups == pixels[0].groups


def test_threads_augment_as_one_does(pixels, config):
    config, size = replace(config, rotation=20, degrade=0.5, erase=0.5), config.train_size

    def batches(threads):
        generator = torch.Generator().manual_seed(0)
        return list(training_batches(pixels[0], config, size, generator, CPU, threads=threads))

    for (images, labels), (same, same_labels) in zip(batches(1), batches(4), strict=True):
        assert torch.equal(images, same) and torch.equal(labels, same_labels)


def test_prefetcher_makes_few_items_ahead_in_order():
    made = []

    def items():
        for i in range(30):
            made.append(i)
            yield i

    prefetcher, taken = Prefetcher(items(), ahead=3), []
    for item in prefetcher:
        taken.append(item)
        assert len(made) <= len(taken) + 3
    assert taken == made == list(range(30))
    assert prefetcher.busy > 0 and prefetcher.waited >= 0


def test_prefetcher_raises_errors_where_the_item_is_used():
    def items():
        yield 1
        raise OSError("gone")

    taken = iter(Prefetcher(items()))
    assert next(taken) == 1
    with pytest.raises(OSError, match="gone"):
        next(taken)


def test_plain_batches_give_all_images_in_order(pixels):
    _, validation = pixels
    batches = list(plain_batches(validation, CPU, batch=5))
    assert torch.equal(torch.cat([labels for _, labels in batches]), validation.labels)
    assert [len(labels) for _, labels in batches[:-1]] == [5] * (len(batches) - 1)
    assert torch.equal(is_red(torch.cat([images for images, _ in batches])), validation.labels)


def test_cache_is_reused_for_the_same_images_side_and_rule(colours, tmp_path, monkeypatch):
    decoded = []

    def count(path, side, resize):
        decoded.append(path)
        return decode(path.read_bytes(), side, resize)

    monkeypatch.setattr(loader, "_decode_one", count)
    images = colours.split("test")
    first = Pixels(images, 24, "stretch", tmp_path, "images")
    assert sorted(decoded) == sorted(image.path for image in images)
    decoded.clear()
    again = Pixels(images, 24, "stretch", tmp_path, "images")
    moved = [replace(image, path=image.path.with_name("moved")) for image in images]
    assert len(Pixels(moved, 24, "stretch", tmp_path, "images")) == len(images)
    assert not decoded, "the key is the content, not the name"
    np.testing.assert_array_equal(first.pixels, again.pixels)
    for others, side, resize in (
        (images[1:], 24, "stretch"),
        (tuple(reversed(images)), 24, "stretch"),
        (images, 28, "stretch"),
        (images, 24, "center-crop"),
    ):
        decoded.clear()
        Pixels(others, side, resize, tmp_path, "images")
        assert len(decoded) == len(others)


def test_interrupted_decoding_leaves_no_cache(colours, tmp_path, monkeypatch):
    images = colours.split("test")

    def interrupt(path, side, resize):
        if path == images[-1].path:
            raise KeyboardInterrupt
        return decode(path.read_bytes(), side, resize)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loader, "_decode_one", interrupt)
        Pixels(images, 24, "stretch", tmp_path, "images")
    assert list(tmp_path.iterdir()) == []
    assert Pixels(images, 24, "stretch", tmp_path, "images").pixels[-1].any()


def test_image_damaged_since_the_scan_is_named(colours, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no more")
    images = [*colours.split("test"), replace(colours.images[0], path=tmp_path / "broken.jpg", sha256="other")]
    with pytest.raises(ImageError, match=r"broken\.jpg: .* It was valid when the folder was scanned"):
        Pixels(images, 24, "stretch", tmp_path / "cache", "images")


def test_full_disk_is_reported_before_decoding(colours, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(DataError, match=r"needs 0\.0 GB.*--cache"):
        Pixels(colours.split("test"), 24, "stretch", tmp_path, "images")
