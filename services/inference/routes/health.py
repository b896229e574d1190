"""GET /health and /ready: is the process alive, and can it predict."""

from typing import Any

from flask_openapi3.openapi import OpenAPI

from services.inference.model import Model
from services.inference.problems import DRAINING, Problem
from services.inference.schemas import Health, Ready, problem
from services.inference.settings import Settings


def register(app: OpenAPI, model: Model, settings: Settings) -> None:
    """Add the two routes, for one model."""

    @app.get("/health", summary="Alive: 200 as long as the process answers", responses={200: Health})
    def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get(
        "/ready",
        summary="Ready: which model is loaded, or why none is",
        responses={
            200: Ready,
            503: problem("No model is loaded, or the service is about to stop; the detail says why"),
        },
    )
    def ready() -> dict[str, Any]:
        if settings.draining:
            raise Problem(DRAINING, f"{settings.drain_file} exists. Send new requests to another instance.")
        manifest = model.require().manifest
        return {
            "status": "ready",
            "model": {"name": manifest.name, "version": manifest.version, "classes": manifest.classes},
            "refused": model.refused or None,
        }
