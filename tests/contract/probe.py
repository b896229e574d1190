"""Print answers of the app, or help texts of the commands, as JSON.

This runs in processes of its own: the app reads its settings once per process, and the commands import PyTorch.
"""

import contextlib
import io
import json
import re
import runpy
import sys
from collections.abc import Iterator
from typing import Any

import gevent
from PIL import Image

COMMANDS = (
    "ml.train",
    "ml.data",
    "ml.evaluate",
    "ml.registry",
    "ml.score",
    "ml.drift",
    "services.monitor",
    "scripts.up",
)
SUB_COMMAND = re.compile(r"^ {4}([a-z][\w-]*)", re.MULTILINE)
KEY = "a-key-of-the-tests"


def image(level: int = 200) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (level, 30, 30)).save(file, "PNG")
    return file.getvalue()


def form(*images: bytes) -> dict[str, Any]:
    files = [(io.BytesIO(data), "image.png") for data in images]
    return {"path": "/predict", "method": "POST", "data": {"file": files}}


def body(data: bytes, content_type: str = "image/png", **options: Any) -> dict[str, Any]:
    return {"path": "/predict", "method": "POST", "data": data, "content_type": content_type, **options}


def ask_open(client: Any) -> Iterator[tuple[str, Any]]:
    """Ask a service that has a model and no restrictions."""
    # As under gunicorn, which knows where a body ends.
    cut = {"CONTENT_LENGTH": str(len(image())), "wsgi.input_terminated": True}
    for name, request in {
        "openapi": {"path": "/openapi.json"},
        "health": {"path": "/health"},
        "ready": {"path": "/ready"},
        "one image": form(image()),
        "several images": form(image(), image()),
        "image as the body": body(image()),
        "explanation": {**body(image()), "path": "/explain"},
        "no image": form(),
        "upload breaks off": body(image()[:50], environ_overrides=cut),
        "too many bytes": body(bytes(60_000)),
        "too many images": form(image(), image(), image()),
        "not an image": body(b"text"),
        "another content type": body(b"text", "text/plain"),
        "broken image": body(image()[:50]),
        "one broken image of several": form(image(), image()[:50]),
        "model fails": body(image(255)),
        "unknown path": {"path": "/nothing"},
        "wrong method": {"path": "/predict"},
    }.items():
        yield name, client.open(**request)
    together = [gevent.spawn(client.application.test_client().open, **body(image())) for _ in range(2)]
    gevent.joinall(together, raise_error=True)
    yield "another prediction has the only slot", together[1].value


def ask_restricted(client: Any) -> Iterator[tuple[str, Any]]:
    """Ask a service without a model that takes one request a day, with a key, and is about to stop."""
    key, wrong = ({"Authorization": f"Bearer {value}"} for value in (KEY, "x" * 16))
    yield "no key", client.open(**body(image()))
    yield "unknown key", client.open(**body(image(), headers=wrong))
    yield "no model", client.open(**body(image(), headers=key))
    yield "too many requests", client.open(**body(image(), headers=key))
    yield "draining", client.open("/ready")


def answers(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    from services.inference.app import create_app

    ask = {"open": ask_open, "restricted": ask_restricted}[kind]
    for name, response in ask(create_app().test_client()):
        yield name, {"status": response.status_code, "headers": list(response.headers.keys()), "json": response.json}


def helps() -> Iterator[tuple[str, str]]:
    for module in COMMANDS:
        yield module, (text := help_of(module))
        for name in SUB_COMMAND.findall(text.partition("positional arguments:")[2].partition("\n\n")[0]):
            yield f"{module} {name}", help_of(module, name)


def help_of(module: str, *arguments: str) -> str:
    sys.argv = [module, *arguments, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    return printed.getvalue()


if __name__ == "__main__":
    found = helps() if sys.argv[1] == "helps" else answers(sys.argv[1])
    sys.stdout.write(json.dumps(dict(found)))
