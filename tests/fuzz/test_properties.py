"""What holds for every picture and every form, by hypothesis."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bundle.jpeg_limits import MAX_SCANS, MAX_SEGMENTS, exceeds_limits
from bundle.preprocess import ImageError, decode
from services.inference import app
from tests import bundles
from tests import drawn_images as pictures
from tests.fuzz import formats, mutations, wire

# As the service itself does, whose filters pytest replaces: an error made of a warning would pass for a broken picture.
pytestmark = [
    pytest.mark.faults,
    pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\."),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

SIZE = 32
SIGNATURES = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"GIF89a", b"BM")
GOOD = [make() for make in pictures.ACCEPTED.values()]

# The same examples each time: by chance is what the campaign is for.
bounded = settings(
    derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow], database=None
)

any_bytes = st.binary(max_size=2000)
damaged = st.builds(lambda random: mutations.picture(random), st.randoms(use_true_random=False))
headed = st.builds(bytes.__add__, st.sampled_from(SIGNATURES), any_bytes)
chunks = st.builds(
    formats.chunk,
    st.sampled_from(
        [b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"zTXt", b"iTXt", b"pHYs", b"gAMA", b"acTL", b"fcTL", b"fdAT"]
    ),
    st.binary(max_size=60),
)
pngs = st.builds(
    lambda extra, depth, colour, interlace, data: formats.png(
        9, 7, *extra, depth=depth, colour=colour, interlace=interlace, data=data
    ),
    st.lists(chunks, max_size=5),
    st.sampled_from([0, 1, 2, 4, 8, 16, 255]),
    st.sampled_from([0, 2, 3, 4, 6]),
    st.integers(0, 2),
    st.none() | st.binary(max_size=100),
)
jpegs = st.builds(
    lambda segments: formats.jpeg(*segments),
    st.lists(
        st.builds(formats.segment, st.integers(0xC0, 0xFE), st.binary(max_size=80), st.none() | st.integers(0, 65535)),
        max_size=5,
    ),
)


def decoded(data):
    """The pixels, or None for what is refused; anything else fails the test."""
    try:
        pixels = decode(data, SIZE, "stretch", max_pixels=1_000_000)
    except ImageError as error:
        assert str(error).endswith((".", "!")), error
        return None
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    return pixels


@bounded
@given(any_bytes | headed | damaged | pngs | jpegs)
def test_whatever_comes_is_a_picture_or_refused(data):
    decoded(data)


@bounded
@given(damaged | pngs | jpegs)
def test_the_same_bytes_are_the_same_picture(data):
    assert np.array_equal(decoded(data), decoded(data))


@bounded
@given(st.sampled_from(GOOD), any_bytes)
def test_what_stands_behind_a_picture_does_not_change_it(data, behind):
    assert np.array_equal(decoded(data + behind), decoded(data))


@bounded
@given(st.lists(st.sampled_from(["scan", "segment", "comment"]), max_size=30), st.integers(1, 400), st.binary())
@example(["scan"], MAX_SCANS, b"")
@example(["segment"], MAX_SEGMENTS, b"")
def test_a_jpeg_is_refused_for_the_scans_and_segments_that_it_has(sorts, times, entropy):
    entropy = entropy.replace(b"\xff", b"\xff\0")
    scan = formats.segment(0xDA, bytes(6)) + entropy
    made = {"scan": scan, "segment": formats.segment(0xE5, b"\xff\xda\xff\xd9"), "comment": formats.segment(0xFE, b"")}
    data = b"\xff\xd8" + b"".join(made[sort] for sort in sorts) * times + b"\xff\xd9" + made["scan"] * MAX_SEGMENTS
    scans = sorts.count("scan") * times
    assert exceeds_limits(data) == (scans > MAX_SCANS or len(sorts) * times > MAX_SEGMENTS)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The app without a server: what gunicorn does with a request is tested elsewhere."""
    folder = tmp_path_factory.mktemp("client")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_DIR", str(bundles.write(folder / "model")))
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder / "metrics"))
        yield app.create_app().test_client()


def answer(client, body, kind):
    response = client.post("/predict", data=body, headers={"Content-Type": kind})
    assert response.status_code in (200, 400, 413, 415, 422), response.data
    if response.status_code != 200:
        assert response.content_type == "application/problem+json"
        assert response.json["detail"]
    return response


tokens = st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n\0', exclude_categories=["Cc"]), max_size=30)


@bounded
@given(st.lists(tokens, min_size=1, max_size=5), st.dictionaries(tokens, any_bytes, max_size=3))
def test_good_pictures_are_answered_whatever_they_are_called_and_whatever_else_is_sent(client, names, others):
    parts = [wire.part(f'form-data; name="{name}"'.encode(), data) for name, data in others.items() if name != "file"]
    parts += [wire.part(f'form-data; name="file"; filename="{name}"'.encode()) for name in names]
    response = answer(client, b"".join(parts) + b"--frontier--\r\n", wire.FORM.decode())
    assert response.status_code == 200, response.data
    answers = response.json["predictions"] if len(names) > 1 else [response.json]
    assert [one["label"] for one in answers] == ["red"] * len(names)


@bounded
@given(
    st.lists(any_bytes | st.sampled_from([wire.GOOD, b"--frontier", b"--frontier--", b"\r\n\r\n"]), max_size=6),
    st.sampled_from(["frontier", "", "x" * 300, '"frontier"', "frontier; charset=utf-7", "\xff"]),
)
def test_whatever_is_called_a_form_is_answered(client, pieces, boundary):
    answer(client, b"".join(pieces), f"multipart/form-data; boundary={boundary}")


@bounded
@given(damaged | any_bytes, st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=60))
def test_whatever_is_sent_as_a_body_is_answered(client, body, kind):
    answer(client, body, kind)


@bounded
@given(st.binary(max_size=300), st.lists(st.tuples(st.sampled_from([4, 2]), st.binary(max_size=9)), max_size=9))
def test_whatever_is_in_exif_the_picture_is_answered(client, start, entries):
    directory = struct.pack(">H", len(entries)) + b"".join(
        struct.pack(">HHI", 0x0112, kind, len(value)) + value[:4].ljust(4, b"\0") for kind, value in entries
    )
    for exif in (start, b"MM\0*\0\0\0\x08" + directory + start):
        body = formats.jpeg(formats.segment(0xE1, b"Exif\0\0" + exif))
        assert answer(client, body, "image/jpeg").status_code == 200
