"""Augmentation: each kind does what it says, as often as the recipe says, and the same seed does the same."""

from dataclasses import replace

import pytest
import torch

from ml.training import augmentation
from ml.training.augmentation import augment, jitter, mixing
from ml.training.config import TrainingConfig

SIDE = 48
STILL = TrainingConfig(crop=1.0)
KINDS = {"rotation": 30.0, "degrade": 1.0, "grey": 1.0, "erase": 1.0}


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """Coloured squares: sharp edges, and no side like its mirror."""
    small = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return small.repeat_interleave(8, 1).repeat_interleave(8, 2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(picture: torch.Tensor, recipe: TrainingConfig, seed: int = 0) -> torch.Tensor:
    return augment(picture, SIDE, recipe, seeded(seed))


def test_the_same_seed_does_the_same_and_another_does_not(picture):
    recipe = TrainingConfig(**KINDS, crop=0.3)
    result = made(picture, recipe)
    assert result.dtype == torch.uint8 and result.shape == (3, SIDE, SIDE)
    assert torch.equal(result, made(picture, recipe))
    assert len({made(picture, recipe, seed).sum().item() for seed in range(8)}) == 8


def test_nothing_but_crops_and_flips_is_done_unasked(picture):
    plain = {made(picture, STILL, seed).numpy().tobytes() for seed in range(40)}
    whole = augmentation.F.resize(picture, [SIDE, SIDE], antialias=True)
    # A whole picture is still stretched a little by the crop's aspect, so only the flip can be told exactly.
    square = [made(picture, STILL, seed) for seed in range(40)]
    closest = min((p.float() - whole.float()).abs().mean().item() for p in square)
    mirrored = min((p.flip(2).float() - whole.float()).abs().mean().item() for p in square)
    assert closest < 12 and mirrored < 12 and len(plain) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_pictures_and_only_in_its_share(picture, kind):
    always, never = replace(STILL, **{kind: KINDS[kind]}), replace(STILL, **{kind: 0.0})
    changed = [not torch.equal(made(picture, always, seed), made(picture, never, seed)) for seed in range(40)]
    if kind == "rotation":
        assert 8 < sum(changed) < 32, "half of the pictures are turned"
    else:
        assert all(changed)
        sometimes = replace(STILL, **{kind: 0.25})
        assert 2 <= sum(not torch.equal(made(picture, sometimes, s), made(picture, never, s)) for s in range(40)) <= 20


def test_grey_has_no_colour(picture):
    red, green, blue = made(picture, replace(STILL, grey=1.0))
    assert torch.equal(red, green) and torch.equal(green, blue)


def test_an_erased_part_is_noise_within_its_share(picture):
    flat = torch.full_like(picture, 200)
    shares = [(made(flat, replace(STILL, erase=1.0), seed) != 200).any(0).float().mean().item() for seed in range(30)]
    smallest, largest = augmentation.ERASED_AREA
    assert min(shares) > smallest * 0.6 and max(shares) < largest * 1.2 and max(shares) > 2 * min(shares)


def roughness(picture: torch.Tensor) -> float:
    return picture.float().diff(dim=2).square().mean().item()


@pytest.mark.parametrize("degradation", augmentation.DEGRADATIONS, ids=lambda f: f.__name__)
def test_each_degradation_loses_something_and_keeps_the_picture(picture, degradation):
    results = [degradation(picture, seeded(seed)) for seed in range(6)]
    for result in results:
        assert result.dtype == torch.uint8 and result.shape == picture.shape
        correlation = torch.corrcoef(torch.stack([result.flatten(), picture.flatten()]).float())[0, 1]
        assert correlation > 0.5 and not torch.equal(result, picture)
    assert len({result.sum().item() for result in results}) > 1, "always of the same strength"
    if degradation is augmentation._dim:
        assert all(result.float().mean() < 0.65 * picture.float().mean() for result in results)
    elif degradation is not augmentation._compress:  # whose blocks have edges of their own
        assert all(roughness(result) < 0.9 * roughness(picture) for result in results)


def test_jitter_varies_light_contrast_and_colour_within_limits():
    pictures = torch.rand((64, 8, 8, 3)) * 60 + 90
    middle = jitter(pictures, torch.full((64, 3), 0.5))
    torch.testing.assert_close(middle, pictures)
    brighter = jitter(pictures, torch.tensor([[1.0, 0.5, 0.5]]).expand(64, 3))
    torch.testing.assert_close(brighter, pictures * 1.3)
    sharper = jitter(pictures, torch.tensor([[0.5, 1.0, 0.5]]).expand(64, 3))
    assert sharper.std() > pictures.std() and sharper.mean().item() == pytest.approx(pictures.mean().item(), rel=1e-3)
    paler = jitter(pictures, torch.tensor([[0.5, 0.5, 0.0]]).expand(64, 3))
    assert paler.std(3).mean().item() == pytest.approx(0.7 * pictures.std(3).mean().item(), rel=1e-3)


def test_mixed_labels_have_the_shares_of_their_pictures():
    pictures = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    labels = torch.arange(4)
    torch.manual_seed(0)
    kinds = set()
    for _ in range(20):
        mixed, shares = mixing(4)(pictures, labels)
        assert shares.shape == (4, 4)
        torch.testing.assert_close(shares.sum(1), torch.ones(4))
        # A picture's value is its class: its mean is the class that the label says, on average.
        torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ torch.arange(4.0))
        kinds.add(len(mixed[0].unique()) > 1)
    assert kinds == {True, False}, "patches (CutMix) as well as blends (mixup)"
