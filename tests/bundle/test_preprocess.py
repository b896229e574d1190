import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bundle.preprocess import BrokenImageError, ImageError, UnsupportedImageError, decode, decode_whole
from tests import drawn_images as images
from tests import servers
from tests.drawn_images import BLUE, GREEN, RED, WHITE
from tests.fuzz import formats

SIZE = 32


@pytest.fixture(autouse=True)
def limit_of_pillow(monkeypatch):
    """Restore Pillow's limit, which decoding sets for the whole process."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


def assert_colour(pixels, colour, tolerance=12):
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - colour).max() <= tolerance


@pytest.mark.parametrize("name", images.ACCEPTED)
@pytest.mark.parametrize("resize", ["stretch", "center-crop"])
def test_accepted_format_keeps_its_colour(name, resize):
    assert_colour(decode(images.ACCEPTED[name](), SIZE, resize), RED)


def assert_corners(pixels):
    for (row, column), colour in {(6, 6): RED, (6, 25): GREEN, (25, 6): BLUE, (25, 25): WHITE}.items():
        assert np.abs(pixels[row, column].astype(int) - colour).max() < 25, (row, column)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    assert_corners(decode(images.oriented(orientation), SIZE, "stretch"))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_invalid_orientation_is_ignored(orientation):
    assert_corners(decode(images.oriented(orientation), SIZE, "stretch"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_broken_exif_is_ignored():
    assert_corners(decode(images.broken_exif(), SIZE, "stretch"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_becomes_white(kind):
    assert_colour(decode(images.transparent(kind), SIZE, "stretch"), WHITE)


def test_half_transparent_red_is_pink():
    image = images.Image.new("RGBA", (64, 64), (255, 0, 0, 128))
    assert_colour(decode(images.encode(image), SIZE, "stretch"), (255, 127, 127), 2)


def test_colour_under_transparency_does_not_leak():
    image = images.Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 31, 64))
    pixels = decode(images.encode(image), SIZE, "stretch").astype(int)
    assert (pixels[:, :, 0] >= 254).all(), "black from under the transparent half shows at the edge"


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("L", (128, 128, 128)), ("1", WHITE), ("LA", (128, 128, 128)), ("P", (128, 128, 128))],
)
def test_grey_modes(mode, colour):
    image = images.Image.new("L", (64, 64), 128 if mode != "1" else 255).convert(mode)
    assert_colour(decode(images.encode(image), SIZE, "stretch"), colour)


def test_16_bits_are_scaled_and_not_clipped():
    assert_colour(decode(images.grey_16_bit(), SIZE, "stretch"), (127, 127, 127), 2)


def test_whole_image_is_upright_and_at_its_own_shape():
    whole = decode_whole(images.oriented(6))
    assert whole.mode == "RGB" and whole.size == images.Image.open(io.BytesIO(images.oriented(1))).size
    for data, value in ((images.grey_16_bit(), 127), (images.transparent(), 255)):
        assert np.abs(np.asarray(decode_whole(data)).astype(int) - value).max() <= 2
    assert decode_whole(images.plain(size=(4100, 2060)), least=1000).size == (2050, 1030)
    with pytest.raises(BrokenImageError):
        decode_whole(images.noise()[:500])


def test_center_crop_cuts_and_stretch_keeps():
    image = images.Image.new("RGB", (300, 100), BLUE)
    image.paste(RED, (100, 0, 200, 100))
    data = images.encode(image)
    assert_colour(decode(data, SIZE, "center-crop")[:, 2:-2].repeat(2, axis=1)[:, :SIZE], RED)
    assert_colour(decode(data, SIZE, "stretch")[:, :8].repeat(4, axis=1), BLUE)


def test_large_jpeg_at_reduced_scale_looks_the_same():
    ramp = np.linspace(0, 255, 2000).astype(np.uint8)
    image = images.Image.fromarray(np.stack([np.tile(ramp, (1500, 1))] * 3, axis=-1))
    whole = np.asarray(image.resize((SIZE, SIZE), images.Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(images.encode(image, "JPEG", quality=95), SIZE, "stretch") - whole).max() <= 4


def test_jpeg_at_reduced_scale_is_not_stretched():
    side = 8 * 2 * SIZE + 1  # an eighth of it ends with a column, and a row, that stands for one pixel of eight
    waves = 128 + 100 * np.sin(np.arange(side) * 2 * np.pi / 128)
    image = images.Image.fromarray(np.add.outer(waves / 2, waves / 2).round().astype(np.uint8)).convert("RGB")
    whole = decode(images.encode(image, "BMP"), SIZE, "stretch").astype(int)
    scaled = decode(images.encode(image, "JPEG", quality=95), SIZE, "stretch")
    assert np.abs(scaled - whole).max() <= 8


@pytest.mark.parametrize("name", images.NOT_PICTURES)
def test_other_format_is_unsupported(name):
    words = (
        "HEIC.*Export it" if "hei" in name else "JPEG XL.*Export it" if "xl" in name else "JPEG, PNG, WEBP, GIF, BMP"
    )
    with pytest.raises(UnsupportedImageError, match=words):
        decode(images.NOT_PICTURES[name](), SIZE, "stretch")


@pytest.mark.parametrize("name", images.BROKEN)
def test_broken_image_is_refused(name):
    with pytest.raises(BrokenImageError):
        decode(images.BROKEN[name](), SIZE, "stretch")


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF", "JPEG2000"])
def test_truncated_image_is_refused_or_whole(kind):
    data = images.progressive(images.noise()) if kind == "progressive JPEG" else images.noise(kind)
    whole = decode(data, SIZE, "stretch")
    refused = 0
    for length in [*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 12, len(data))]:
        try:
            pixels = decode(data[:length], SIZE, "stretch")
        except ImageError:
            refused += 1
        else:
            assert np.array_equal(pixels, whole), f"cut at {length} of {len(data)} bytes gives half an image"
    assert refused >= 140


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("size", [(96, 64), (1000, 800)])
def test_jpeg_may_lack_its_end_but_no_pixels(options, size):
    image = images.Image.open(io.BytesIO(images.noise(size=size))).resize((size[0] * 2, size[1] * 2))
    data = images.encode(image, "JPEG", **options)
    whole = decode(data, SIZE, "stretch")
    for cut in (1, 2):
        assert np.array_equal(decode(data[:-cut], SIZE, "stretch"), whole)
    for cut in (40, 200, len(data) // 10, len(data) // 2):
        with pytest.raises(BrokenImageError):
            decode(data[:-cut], SIZE, "stretch")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_in_xmp_is_ignored_as_by_browsers(kind):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        data = images.encode(images.corners(), kind, pnginfo=info)
    else:
        data = images.encode(images.corners(), kind, xmp=xmp, quality=95)
    assert_corners(decode(data, SIZE, "stretch"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", [2, 5, 6, 7, 8])
def test_orientation_of_every_format_is_applied(kind, orientation):
    assert_corners(decode(images.oriented(orientation, kind), SIZE, "stretch"))


def test_turned_image_that_is_not_square_keeps_its_parts():
    image = images.Image.new("RGB", (300, 100), BLUE)
    image.paste(RED, (100, 0, 200, 100))
    exif = images.Image.Exif()
    exif[images.ORIENTATION] = 6
    for kind in ("JPEG", "TIFF", "AVIF"):
        data = images.encode(image, kind, exif=exif)
        assert_colour(decode(data, SIZE, "center-crop")[2:-2].repeat(2, axis=0)[:SIZE], RED, 40)


def test_pixels_of_a_jpeg_count_at_the_scale_that_is_decoded():
    image = images.Image.new("RGB", (8 * 2 * SIZE, 8 * 2 * SIZE), RED)
    for options in ({}, {"subsampling": 0}, {"restart_marker_blocks": 3}):
        data = images.encode(image, "JPEG", **options)
        assert_colour(decode(data, SIZE, "stretch", max_pixels=4 * SIZE * SIZE), RED)
        with pytest.raises(BrokenImageError, match=f"at most {4 * SIZE * SIZE - 1:,} "):
            decode(data, SIZE, "stretch", max_pixels=4 * SIZE * SIZE - 1)
    with pytest.raises(BrokenImageError, match="pixels; at most"):
        decode(
            images.encode(image, "JPEG", progressive=True), SIZE, "stretch", max_pixels=image.width * image.height - 1
        )


def test_large_jpeg_2000_at_reduced_scale_looks_the_same():
    waves = 128 + 100 * np.sin(np.arange(1001) * 2 * np.pi / 250)
    image = images.Image.fromarray(np.add.outer(waves / 2, waves / 2).round().astype(np.uint8)).convert("RGB")
    whole = decode(images.encode(image, "BMP"), SIZE, "stretch").astype(int)
    for options in ({}, {"num_resolutions": 1}, {"num_resolutions": 2, "tile_size": (128, 128)}):
        scaled = decode(images.encode(image, "JPEG2000", **options), SIZE, "stretch")
        assert np.abs(scaled - whole).max() <= 20, "wavelets move an image by half a pixel, but not by more"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as the service does
def test_number_of_pixels_is_limited_exactly():
    data = images.plain(RED, "PNG", (100, 100))
    assert_colour(decode(data, SIZE, "stretch", max_pixels=10_000), RED)
    with pytest.raises(BrokenImageError, match="100 × 100 pixels; at most 9,999"):
        decode(data, SIZE, "stretch", max_pixels=9_999)


def test_damaged_png_is_refused():
    data = images.noise("PNG")
    for percent in range(20, 100, 20):
        place = len(data) * percent // 100
        damaged = data[:place] + bytes(8) + data[place + 8 :]
        with pytest.raises(BrokenImageError):
            decode(damaged, SIZE, "stretch")


def test_sound_is_no_broken_image():
    with pytest.raises(UnsupportedImageError):
        decode(b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), SIZE, "stretch")


@pytest.mark.parametrize("flags", [0x08, 0x0D], ids=["background", "previous"])
def test_gif_is_refused_before_its_pixels_are_allocated(flags):
    with pytest.raises(BrokenImageError, match="more than 20,000 pixels; at most 10,000"):
        decode(formats.gif(1000, 1000, flags=flags), SIZE, "stretch", max_pixels=10_000)


def test_decode_imports_nothing_after_warm_up():
    """Under gevent, an import in two native threads at the same time could wait for ever."""
    code = """if True:
        import sys
        from bundle.preprocess import decode, warm_up
        from tests import drawn_images
        warm_up()
        before = set(sys.modules)
        for make in (*drawn_images.ACCEPTED.values(), drawn_images.broken_exif, drawn_images.transparent):
            decode(make(), 32, "stretch")
        print(*(name for name in set(sys.modules) - before if name.startswith("PIL")))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=servers.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
