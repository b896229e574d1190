"""Each augmentation does what it says, as often as configured, and the same seed gives the same result."""

from dataclasses import replace

import pytest
import torch

from ml.training import augmentation
from ml.training.augmentation import augment, jitter, mixing
from ml.training.config import TrainingConfig

SIDE = 48
PLAIN = TrainingConfig(crop=1.0, rotation=0.0, degrade=0.0, grey=0.0)
KINDS = {"rotation": 30.0, "degrade": 1.0, "grey": 1.0, "erase": 1.0}
SEEDS = range(40)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """Coloured squares: sharp edges, and no side like its mirror."""
    small = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return small.repeat_interleave(8, 1).repeat_interleave(8, 2)


def augmented(image: torch.Tensor, config: TrainingConfig, seed: int = 0) -> torch.Tensor:
    return augment(image, SIDE, config, torch.Generator().manual_seed(seed))


def test_augment_same_seed_gives_the_same_image(image):
    config = TrainingConfig(**KINDS, crop=0.3)
    result = augmented(image, config)
    assert result.dtype == torch.uint8 and result.shape == (3, SIDE, SIDE)
    assert torch.equal(result, augmented(image, config))
    assert len({augmented(image, config, seed).sum().item() for seed in range(8)}) == 8


def test_augment_by_default_only_crops_and_flips(image):
    whole = augmentation.F.resize(image, [SIDE, SIDE], antialias=True).float()
    results = [augmented(image, PLAIN, seed).float() for seed in SEEDS]
    # The crop's aspect still stretches the whole image a little.
    assert min((result - whole).abs().mean().item() for result in results) < 12
    assert min((result.flip(2) - whole).abs().mean().item() for result in results) < 12
    assert len({result.sum().item() for result in results}) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_is_applied_in_its_share(image, kind):
    def changed(value: float) -> int:
        config = replace(PLAIN, **{kind: value})
        return sum(not torch.equal(augmented(image, config, s), augmented(image, PLAIN, s)) for s in SEEDS)

    if kind == "rotation":
        assert 8 < changed(KINDS[kind]) < 32, "half of the images are rotated"
    else:
        assert changed(1.0) == len(SEEDS) and 2 <= changed(0.25) <= 20


def test_grey_has_no_colour(image):
    red, green, blue = augmented(image, replace(PLAIN, grey=1.0))
    assert torch.equal(red, green) and torch.equal(green, blue)


def test_erased_area_is_within_its_limits(image):
    flat = torch.full_like(image, 200)
    shares = [
        (augmented(flat, replace(PLAIN, erase=1.0), seed) != 200).any(0).float().mean().item() for seed in range(30)
    ]
    smallest, largest = augmentation.ERASED_AREA
    assert min(shares) > smallest * 0.6 and max(shares) < largest * 1.2 and max(shares) > 2 * min(shares)


def roughness(image: torch.Tensor) -> float:
    return image.float().diff(dim=2).square().mean().item()


DAMAGES = [degradation for degradation in augmentation.DEGRADATIONS if degradation is not augmentation._zoom_out]


@pytest.mark.parametrize("degradation", DAMAGES, ids=lambda f: f.__name__)
def test_degradation_loses_detail_but_keeps_the_image(image, degradation):
    results = [degradation(image, torch.Generator().manual_seed(seed)) for seed in range(6)]
    for result in results:
        assert result.dtype == torch.uint8 and result.shape == image.shape
        correlation = torch.corrcoef(torch.stack([result.flatten(), image.flatten()]).float())[0, 1]
        assert correlation > 0.5 and not torch.equal(result, image)
    assert len({result.sum().item() for result in results}) > 1, "always of the same strength"
    if degradation is augmentation._dim:
        assert all(result.float().mean() < 0.65 * image.float().mean() for result in results)
    elif degradation is not augmentation._compress:  # whose blocks have edges of their own
        assert all(roughness(result) < 0.9 * roughness(image) for result in results)


def test_zooming_out_shows_the_whole_image_smaller(image):
    for seed in range(6):
        result = augmentation._zoom_out(torch.full_like(image, 7), torch.Generator().manual_seed(seed))
        assert result.shape == image.shape and (result == 7).all(), "the border repeats the edge"
    mark = torch.zeros_like(image)
    mark[:, 1:-1, 1:-1] = 255  # all but the edge
    shown = (augmentation._zoom_out(mark, torch.Generator().manual_seed(0)) > 127).float().mean().item()
    assert 0.5**2 * 0.8 < shown < 0.9**2


def test_jitter_changes_brightness_contrast_and_saturation_within_limits():
    def jittered(*strength: float) -> torch.Tensor:
        return jitter(images, torch.tensor([strength]).expand(64, 3))

    images = torch.rand((64, 8, 8, 3)) * 60 + 90
    torch.testing.assert_close(jittered(0.5, 0.5, 0.5), images)
    torch.testing.assert_close(jittered(1.0, 0.5, 0.5), images * 1.3)
    sharper, paler = jittered(0.5, 1.0, 0.5), jittered(0.5, 0.5, 0.0)
    assert sharper.std() > images.std() and sharper.mean().item() == pytest.approx(images.mean().item(), rel=1e-3)
    assert paler.std(3).mean().item() == pytest.approx(0.7 * images.std(3).mean().item(), rel=1e-3)


def test_mixed_labels_have_the_shares_of_their_images():
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    torch.manual_seed(0)
    kinds = set()
    for _ in range(20):
        mixed, shares = mixing(4)(images, torch.arange(4))
        assert shares.shape == (4, 4)
        torch.testing.assert_close(shares.sum(1), torch.ones(4))
        # An image's value is its class, so the mean value is the mean class of the mixed label.
        torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ torch.arange(4.0))
        kinds.add(len(mixed[0].unique()) > 1)
    assert kinds == {True, False}, "both patches (CutMix) and blends (mixup)"
