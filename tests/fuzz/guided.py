"""``python -m tests.fuzz.guided decode``: inputs that reach new code are kept and changed again (atheris, libFuzzer).

Three targets: ``decode`` a picture, ``upload`` one through the app, and ``wire``, the server's own parser of requests.
What libFuzzer takes, such as ``-runs=100000``, ``-max_total_time=600`` or a folder for what it finds, goes behind the
target's name. It ends with an error, and the input in a file, where an exception escapes or an input takes too long.
"""

import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris  # and of this project nothing at the top: what is imported before it is watched shows no new code

SIZE = 32
MAX_PIXELS = 1_000_000
BOUNDS = ("-max_len=8192", "-timeout=20", "-rss_limit_mb=2048")
FORM_MARK = b"--frontier"

Target = Callable[[bytes], None]


def decode(folder: Path) -> Target:
    """Any bytes are a picture or refused."""
    with atheris.instrument_imports(include=["PIL", "bundle.preprocess", "bundle.jpeg_limits"]):
        # Pillow would import those when they are first needed, and nobody would watch them.
        for kind in ("Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):
            importlib.import_module(f"PIL.{kind}ImagePlugin")
        from bundle import preprocess as image

    def target(data: bytes) -> None:
        try:
            pixels = image.decode(data, SIZE, "stretch", MAX_PIXELS)
        except image.ImageError:
            return
        assert pixels.shape == (SIZE, SIZE, 3)

    return target


def upload(folder: Path) -> Target:
    """Any body gets an answer that is none of the service's own errors."""
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


def wire(folder: Path) -> Target:
    """Any bytes are a request, or refused in a way that the worker has an answer for."""
    with atheris.instrument_imports(include=["gunicorn.http"]):
        from gunicorn.config import Config
        from gunicorn.http.errors import ParseException
        from gunicorn.http.parser import RequestParser

    config = Config()
    config.set("limit_request_line", 4094)

    def target(data: bytes) -> None:
        try:
            for request in RequestParser(config, iter([data]), ("127.0.0.1", 1)):
                request.body.read()
        except (ParseException, StopIteration):
            return
        except Exception as error:
            # Of the body: the app reads it, and answers whatever it runs into with 400.
            if type(error).__module__ != "gunicorn.http.errors":
                raise

    return target


TARGETS: dict[str, Callable[[Path], Target]] = {"decode": decode, "upload": upload, "wire": wire}


def seeds(name: str, folder: Path) -> None:
    """Write what to begin with: the hostile corpora."""
    from tests.fuzz import mutations, wire

    made = mutations.requests() if name == "wire" else mutations.pictures()
    if name == "upload":
        made = made + [request.partition(b"\r\n\r\n")[2] for request in mutations.requests()]
        made += [wire.part(wire.FILE, picture) + FORM_MARK + b"--\r\n" for picture in made[:40]]
    for number, data in enumerate(made):
        (folder / f"seed-{number}").write_bytes(data)


def main() -> None:
    """Run as a command."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        raise SystemExit(f"Say which target: python -m tests.fuzz.guided {'|'.join(TARGETS)} [-runs=100000 …]")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in ("found", "seeds"):
            (folder / part).mkdir()
        logging.disable(logging.INFO)
        target = TARGETS[name](folder)
        seeds(name, folder / "seeds")
        options = [*BOUNDS, *sys.argv[2:]]
        atheris.Setup([sys.argv[0], *options, str(folder / "found"), str(folder / "seeds")], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
