"""GET / for people, and /docs with /openapi.json for those who call the service from a program."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Blueprint, render_template
from flask_openapi3.openapi import OpenAPI

from bundle.preprocess import FORMATS
from services.inference.model import Model
from services.inference.schemas import content
from services.inference.settings import Settings

SWAGGER = Path(str(files(flask_openapi3_swagger))) / "templates" / "swagger"
HTML = content("text/html", {"type": "string"}, "The page")


def register(app: OpenAPI, model: Model, settings: Settings) -> None:
    """Add the page and the documentation, for one model and its limits."""
    app.register_blueprint(Blueprint("swagger", __name__, static_folder=SWAGGER, static_url_path="/docs/static"))

    @app.get("/", summary="A page to drop pictures on", responses={200: HTML})
    def index() -> str:
        return render_template("index.html", model=model, settings=settings, formats=FORMATS)

    @app.get("/docs", summary="This documentation, to try out", responses={200: HTML})
    def docs() -> str:
        return render_template("docs.html")

    @app.get(
        "/openapi.json",
        summary="This documentation, for programs",
        responses={200: content("application/json", {"type": "object"}, "OpenAPI 3.1")},
    )
    def openapi() -> dict[str, Any]:
        return app.api_doc
