"""GET / for people, GET /docs and GET /openapi.json for programmers."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Blueprint, current_app, render_template, request
from flask_openapi3.blueprint import APIBlueprint

from bundle.preprocess import FORMATS
from services.inference.model import Model
from services.inference.routes import blueprint
from services.inference.schemas import content
from services.inference.settings import Settings

SWAGGER = Path(str(files(flask_openapi3_swagger))) / "templates" / "swagger"
HTML = content("text/html", {"type": "string"}, "The page")
IMAGES = (".avif", ".gif", ".jpeg", ".jpg", ".png", ".webp")  # that browsers show
EXAMPLES = "examples"  # folder of the bundle
MAX_EXAMPLES = 8
OPENAPI = content("application/json", {"type": "object"}, "OpenAPI 3.1")


def create_blueprint(model: Model, settings: Settings) -> APIBlueprint:
    """Create the page and the documentation for one model and its limits."""
    routes = blueprint("pages")
    routes.register_blueprint(Blueprint("swagger", __name__, static_folder=SWAGGER, static_url_path="/docs/static"))
    folder = (settings.model_dir / EXAMPLES).resolve()
    routes.register_blueprint(Blueprint(EXAMPLES, __name__, static_folder=folder, static_url_path=f"/{EXAMPLES}"))
    examples = _images(folder)

    @routes.get("/", summary="A page to drop images on", responses={200: HTML})
    def index() -> str:
        options = {"model": model, "settings": settings, "formats": FORMATS, "examples": examples}
        return render_template("index.html", root=_root(), **options)

    @routes.get("/docs", summary="Interactive documentation", responses={200: HTML})
    def docs() -> str:
        return render_template("docs.html", root=_root())

    @routes.get("/openapi.json", summary="Documentation for programs", responses={200: OPENAPI})
    def openapi() -> dict[str, Any]:
        document: dict[str, Any] = current_app.api_doc  # type: ignore[attr-defined]
        return document | {"servers": [{"url": request.script_root}]} if request.script_root else document

    return routes


def _images(folder: Path) -> list[str]:
    """List the first images of a folder by name."""
    try:
        names = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in IMAGES)
    except OSError:
        return []
    return names[:MAX_EXAMPLES]


def _root() -> str:
    """Return the path before all addresses; relative where the prefix is unknown, because a proxy may have one."""
    return f"{request.script_root}/" if request.script_root else ""
