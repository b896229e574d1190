"""Search for inputs that reach new code, with atheris (libFuzzer): ``python -m tests.fuzz.guided decode|upload``.

Options of libFuzzer, such as ``-runs=100000``, ``-max_total_time=600`` or a folder for its findings, follow the
target's name. An escaped exception or a slow input ends the run with an error, and the input in a file.
"""

import importlib
import logging
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris  # imports of this project follow in the targets, where atheris instruments them

SIZE = 32
MAX_PIXELS = 1_000_000
# MAX_MEMORY is the limit: libFuzzer would count the peak of the process that started this one.
BOUNDS = ("-max_len=8192", "-timeout=20", "-rss_limit_mb=0", "-malloc_limit_mb=1000000")
FORM_MARK = b"--frontier"
# As a container bounds a worker: an AVIF may lie about the size of its frame, and its decoder then ask for gigabytes.
MAX_MEMORY = 1 << 30  # bytes

Target = Callable[[bytes], None]


def decode(folder: Path) -> Target:
    """Decode any bytes, or refuse them."""
    with atheris.instrument_imports(include=["PIL", "bundle"]):
        # Pillow imports these when it first needs them, which would be too late.
        for kind in ("Avif", "Bmp", "Gif", "Jpeg", "Jpeg2K", "Png", "Tiff", "WebP"):
            importlib.import_module(f"PIL.{kind}ImagePlugin")
        from bundle import preprocess

    def target(data: bytes) -> None:
        try:
            pixels = preprocess.decode(data, SIZE, "stretch", MAX_PIXELS)
        except preprocess.ImageError:
            return
        assert pixels.shape == (SIZE, SIZE, 3)

    return target


def upload(folder: Path) -> Target:
    """Answer any body without an internal error."""
    with atheris.instrument_imports(include=["werkzeug.formparser", "werkzeug.sansio", "services.inference"]):
        from services.inference import app
        from tests import bundles

    os.environ["MODEL_DIR"] = str(bundles.write(folder / "model"))
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "metrics")
    client = app.create_app().test_client()

    def target(data: bytes) -> None:
        kind = "multipart/form-data; boundary=frontier" if data.startswith(FORM_MARK) else "image/jpeg"
        status = client.post("/predict", data=data, headers={"Content-Type": kind}).status_code
        assert status in (200, 400, 413, 415, 422), status

    return target


TARGETS: dict[str, Callable[[Path], Target]] = {"decode": decode, "upload": upload}


def seeds(name: str, folder: Path) -> None:
    """Write the hostile corpora as first inputs."""
    from tests.fuzz import mutations, wire

    made = list(mutations.images())
    if name == "upload":
        made += [request.partition(b"\r\n\r\n")[2] for request in mutations.requests()]
        made += [wire.part(wire.FILE, image) + FORM_MARK + b"--\r\n" for image in made[:40]]
    for number, data in enumerate(made):
        (folder / f"seed-{number}").write_bytes(data)


def main() -> None:
    """Run as a command."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        raise SystemExit(f"Name a target: python -m tests.fuzz.guided {'|'.join(TARGETS)} [-runs=100000 …]")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in ("found", "seeds"):
            (folder / part).mkdir()
        logging.disable(logging.INFO)
        target = TARGETS[name](folder)
        seeds(name, folder / "seeds")
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
        options = [*BOUNDS, *sys.argv[2:]]
        atheris.Setup([sys.argv[0], *options, str(folder / "found"), str(folder / "seeds")], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
