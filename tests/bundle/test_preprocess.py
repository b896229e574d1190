"""Decoding: every kind of picture gives the pixels a person sees, and nothing else gives pixels."""

import numpy as np
import pytest
from PIL import Image

from bundle.preprocess import BrokenImageError, ImageError, UnsupportedImageError, decode
from tests import drawn_images as pictures
from tests.drawn_images import BLUE, GREEN, RED, WHITE
from tests.fuzz import formats

SIZE = 32


@pytest.fixture(autouse=True)
def limit_of_pillow(monkeypatch):
    """Decoding sets one of the whole process, which others that open pictures here would meet."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


def assert_colour(pixels, colour, tolerance=12):
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - colour).max() <= tolerance


@pytest.mark.parametrize("name", pictures.ACCEPTED)
@pytest.mark.parametrize("resize", ["stretch", "center-crop"])
def test_every_accepted_kind_shows_its_colour(name, resize):
    assert_colour(decode(pictures.ACCEPTED[name](), SIZE, resize), RED)


def assert_corners(pixels):
    for (row, column), colour in {(6, 6): RED, (6, 25): GREEN, (25, 6): BLUE, (25, 25): WHITE}.items():
        assert np.abs(pixels[row, column].astype(int) - colour).max() < 25, (row, column)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_puts_a_picture_right(orientation):
    assert_corners(decode(pictures.oriented(orientation), SIZE, "stretch"))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_no_orientation(orientation):
    assert_corners(decode(pictures.oriented(orientation), SIZE, "stretch"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_broken_exif_does_not_spoil_a_good_picture():
    assert_corners(decode(pictures.broken_exif(), SIZE, "stretch"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_on_white(kind):
    assert_colour(decode(pictures.transparent(kind), SIZE, "stretch"), WHITE)


def test_half_transparent_red_is_pink():
    image = pictures.Image.new("RGBA", (64, 64), (255, 0, 0, 128))
    assert_colour(decode(pictures.encode(image), SIZE, "stretch"), (255, 127, 127), 2)


def test_the_colour_under_full_transparency_does_not_leak():
    image = pictures.Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 31, 64))
    pixels = decode(pictures.encode(image), SIZE, "stretch").astype(int)
    assert (pixels[:, :, 0] >= 254).all(), "black from under the transparent half shows at the edge"


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("L", (128, 128, 128)), ("1", WHITE), ("LA", (128, 128, 128)), ("P", (128, 128, 128))],
)
def test_grey_modes(mode, colour):
    image = pictures.Image.new("L", (64, 64), 128 if mode != "1" else 255).convert(mode)
    assert_colour(decode(pictures.encode(image), SIZE, "stretch"), colour)


def test_sixteen_bits_are_scaled_and_not_clipped():
    assert_colour(decode(pictures.grey_16_bit(), SIZE, "stretch"), (127, 127, 127), 2)


def test_center_crop_cuts_and_stretch_keeps():
    image = pictures.Image.new("RGB", (300, 100), BLUE)
    image.paste(RED, (100, 0, 200, 100))
    data = pictures.encode(image)
    assert_colour(decode(data, SIZE, "center-crop")[:, 2:-2].repeat(2, axis=1)[:, :SIZE], RED)
    assert_colour(decode(data, SIZE, "stretch")[:, :8].repeat(4, axis=1), BLUE)


def test_a_large_jpeg_decoded_at_reduced_scale_looks_like_the_whole():
    ramp = np.linspace(0, 255, 2000).astype(np.uint8)
    image = pictures.Image.fromarray(np.stack([np.tile(ramp, (1500, 1))] * 3, axis=-1))
    whole = np.asarray(image.resize((SIZE, SIZE), pictures.Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(pictures.encode(image, "JPEG", quality=95), SIZE, "stretch") - whole).max() <= 4


def test_a_jpeg_at_reduced_scale_is_not_stretched_by_its_last_half_filled_pixels():
    side = 8 * 2 * SIZE + 1  # an eighth of it ends with a column, and a row, that stands for one pixel of eight
    waves = 128 + 100 * np.sin(np.arange(side) * 2 * np.pi / 128)
    image = pictures.Image.fromarray(np.add.outer(waves / 2, waves / 2).round().astype(np.uint8)).convert("RGB")
    whole = decode(pictures.encode(image, "BMP"), SIZE, "stretch").astype(int)
    scaled = decode(pictures.encode(image, "JPEG", quality=95), SIZE, "stretch")
    assert np.abs(scaled - whole).max() <= 8


@pytest.mark.parametrize("name", pictures.NOT_PICTURES)
def test_what_is_no_accepted_picture_is_unsupported(name):
    with pytest.raises(UnsupportedImageError, match="JPEG, PNG, WEBP, GIF, BMP"):
        decode(pictures.NOT_PICTURES[name](), SIZE, "stretch")


@pytest.mark.parametrize("name", pictures.BROKEN)
def test_a_broken_picture_is_named_broken(name):
    with pytest.raises(BrokenImageError):
        decode(pictures.BROKEN[name](), SIZE, "stretch")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_cut_picture_is_refused_or_whole_but_never_half(kind):
    data = pictures.noise(kind)
    whole = decode(data, SIZE, "stretch")
    refused = 0
    for length in [*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 12, len(data))]:
        try:
            pixels = decode(data[:length], SIZE, "stretch")
        except ImageError:
            refused += 1
        else:
            assert np.array_equal(pixels, whole), f"cut at {length} of {len(data)} bytes gives half a picture"
    assert refused >= 150


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as the service does
def test_too_many_pixels_are_refused_before_decoding_and_exactly_enough_are_not():
    data = pictures.plain(RED, "PNG", (100, 100))
    assert_colour(decode(data, SIZE, "stretch", max_pixels=10_000), RED)
    with pytest.raises(BrokenImageError, match="100 × 100 pixels; at most 9,999"):
        decode(data, SIZE, "stretch", max_pixels=9_999)


def test_a_png_damaged_inside_is_refused():
    data = pictures.noise("PNG")
    for percent in range(20, 100, 20):
        place = len(data) * percent // 100
        damaged = data[:place] + bytes(8) + data[place + 8 :]
        with pytest.raises(BrokenImageError):
            decode(damaged, SIZE, "stretch")


def test_a_sound_is_no_broken_picture():
    with pytest.raises(UnsupportedImageError):
        decode(b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), SIZE, "stretch")


@pytest.mark.parametrize("flags", [0x08, 0x0D], ids=["background", "what was there before"])
def test_a_gif_is_refused_before_pillow_makes_room_for_what_its_frame_leaves_behind(flags):
    with pytest.raises(BrokenImageError, match="more than 20,000 pixels; at most 10,000"):
        decode(formats.gif(1000, 1000, flags=flags), SIZE, "stretch", max_pixels=10_000)
