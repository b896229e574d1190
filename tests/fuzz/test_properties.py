"""Properties of every image and every form, by hypothesis."""

import base64
import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bundle.jpeg_limits import MAX_SCANS, MAX_SEGMENTS, exceeds_limits
from bundle.preprocess import ImageError, decode
from services.inference import app
from tests import bundles, drawn_images
from tests.fuzz import formats, mutations, wire

# The service's own filters, which pytest replaces: an error made of a warning would pass for a broken image.
pytestmark = [
    pytest.mark.faults,
    pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\."),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

SIZE = 32
SIGNATURES = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"GIF89a", b"BM", b"II*\0\x08\0\0\0")
SIGNATURES += (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x1cftypavif", b"data:image/png;base64,")
CHUNKS = [b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"pHYs", b"gAMA", b"acTL", b"fcTL", b"fdAT"]
JSON_KEYS = ("image", "instances", "b64", "image_bytes", "other")
BASE64 = [
    base64.b64encode(drawn_images.plain()).decode(),
    f"data:;base64,{base64.b64encode(b'cat').decode()}",
    "YQ",
    "?",
]
GOOD = [make() for make in drawn_images.ACCEPTED.values()]
ENDED = [make() for name, make in drawn_images.ACCEPTED.items() if "without its" not in name]

# The same examples each time; the campaign has others.
bounded = settings(
    derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow], database=None
)

any_bytes = st.binary(max_size=2000)
damaged = st.builds(lambda random: mutations.image(random), st.randoms(use_true_random=False))
headed = st.builds(bytes.__add__, st.sampled_from(SIGNATURES), any_bytes)
chunks = st.builds(formats.chunk, st.sampled_from(CHUNKS), st.binary(max_size=60))
pngs = st.builds(
    lambda extra, **fields: formats.png(9, 7, *extra, **fields),
    st.lists(chunks, max_size=5),
    depth=st.sampled_from([0, 1, 2, 4, 8, 16, 255]),
    colour=st.sampled_from([0, 2, 3, 4, 6]),
    interlace=st.integers(0, 2),
    data=st.none() | st.binary(max_size=100),
)
entries = st.tuples(st.integers(254, 350), st.integers(0, 13), st.integers(0, 99), st.integers(0, 999))
tiffs = st.builds(lambda some: formats.tiff(*some) + bytes(600), st.lists(entries, max_size=12))
lengths = st.none() | st.integers(0, 65535)
segments = st.builds(formats.segment, st.integers(0xC0, 0xFE), st.binary(max_size=80), lengths)
jpegs = st.builds(lambda some: formats.jpeg(*some), st.lists(segments, max_size=5))


def decoded(data):
    """Return the pixels, or None for a refused image; any other error fails the test."""
    try:
        pixels = decode(data, SIZE, "stretch", max_pixels=1_000_000)
    except ImageError as error:
        assert str(error).endswith((".", "!")), error
        return None
    assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)
    return pixels


@bounded
@given(any_bytes | headed | damaged | pngs | jpegs | tiffs)
def test_any_bytes_are_always_the_same_image_or_refused(data):
    assert np.array_equal(decoded(data), decoded(data))


@bounded
@given(st.sampled_from(ENDED), any_bytes)
def test_bytes_behind_an_image_do_not_change_it(data, behind):
    assert np.array_equal(decoded(data + behind), decoded(data))


@bounded
@given(st.lists(st.sampled_from(["scan", "segment", "comment"]), max_size=30), st.integers(1, 400), st.binary())
@example(["scan"], MAX_SCANS, b"")
@example(["segment"], MAX_SEGMENTS, b"")
def test_jpeg_is_refused_for_its_number_of_scans_and_segments(sorts, times, entropy):
    entropy = entropy.replace(b"\xff", b"\xff\0")
    scan = formats.segment(0xDA, bytes(6)) + entropy
    made = {"scan": scan, "segment": formats.segment(0xE5, b"\xff\xda\xff\xd9"), "comment": formats.segment(0xFE, b"")}
    data = b"\xff\xd8" + b"".join(made[sort] for sort in sorts) * times + b"\xff\xd9" + made["scan"] * MAX_SEGMENTS
    scans = sorts.count("scan") * times
    assert exceeds_limits(data) == (scans > MAX_SCANS or len(sorts) * times > MAX_SEGMENTS)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A client of the app without a server."""
    folder = tmp_path_factory.mktemp("client")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_DIR", str(bundles.write(folder / "model")))
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder / "metrics"))
        yield app.create_app(app.settings.load()).test_client()


def answer(client, body, kind):
    response = client.post("/predict", data=body, headers={"Content-Type": kind})
    assert response.status_code in (200, 400, 413, 415, 422), response.data
    if response.status_code != 200:
        assert response.content_type == "application/problem+json"
        assert response.json["detail"]
    return response


names = st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n\0', exclude_categories=["Cc"]), max_size=30)


@bounded
@given(st.lists(names, min_size=1, max_size=5), st.dictionaries(names, any_bytes, max_size=3))
def test_good_images_are_answered_under_any_name_beside_any_field(client, files, others):
    parts = [wire.part(f'form-data; name="{name}"'.encode(), data) for name, data in others.items() if name != "file"]
    parts += [wire.part(f'form-data; name="file"; filename="{name}"'.encode()) for name in files]
    response = answer(client, b"".join(parts) + b"--frontier--\r\n", wire.FORM.decode())
    assert response.status_code == 200, response.data
    answers = response.json["predictions"] if len(files) > 1 else [response.json]
    assert [one["label"] for one in answers] == ["red"] * len(files)


forms = st.lists(any_bytes | st.sampled_from([wire.GOOD, b"--frontier", b"--frontier--", b"\r\n\r\n"]), max_size=6)
boundaries = st.sampled_from(["frontier", "", "x" * 300, '"frontier"', "frontier; charset=utf-7", "\xff"])
types = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60)


@bounded
@given(st.builds(b"".join, forms), boundaries.map("multipart/form-data; boundary={}".format))
def test_any_form_is_answered(client, body, kind):
    answer(client, body, kind)


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=30) | st.sampled_from(BASE64),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(JSON_KEYS), inner, max_size=3),
)


@bounded
@given(json_values | st.dictionaries(st.sampled_from(JSON_KEYS), json_values, max_size=3), any_bytes)
def test_any_json_is_answered(client, value, behind):
    body = json.dumps(value).encode()
    answer(client, body, "application/json")
    answer(client, body[: len(body) // 2] + behind, "application/json")


@bounded
@given(damaged | any_bytes, types)
def test_any_body_is_answered(client, body, kind):
    answer(client, body, kind)


@bounded
@given(st.binary(max_size=300), st.lists(st.tuples(st.sampled_from([4, 2]), st.binary(max_size=9)), max_size=9))
def test_image_with_any_exif_is_answered(client, start, entries):
    directory = struct.pack(">H", len(entries)) + b"".join(
        struct.pack(">HHI", 0x0112, kind, len(value)) + value[:4].ljust(4, b"\0") for kind, value in entries
    )
    for exif in (start, b"MM\0*\0\0\0\x08" + directory + start):
        body = formats.jpeg(formats.segment(0xE1, b"Exif\0\0" + exif))
        assert answer(client, body, "image/jpeg").status_code == 200
