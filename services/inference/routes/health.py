"""GET /health and GET /ready."""

from typing import Any

from flask import current_app
from flask_openapi3.blueprint import APIBlueprint

from services.inference.model import Model
from services.inference.problems import DRAINING, UNFIT, Problem
from services.inference.routes import blueprint
from services.inference.schemas import Health, Ready, problem
from services.inference.settings import Settings

UNREADY = problem("No model is loaded, predictions fail, or the service is about to stop; the detail has the reason")


def create_blueprint(model: Model, settings: Settings) -> APIBlueprint:
    """Create the routes for one model."""
    routes = blueprint("health")

    @routes.get("/health", summary="Liveness: 200 while the process answers", responses={200: Health})
    def health() -> dict[str, str]:
        return {"status": "alive"}

    @routes.get(
        "/ready", summary="Readiness: the loaded model, or why there is none", responses={200: Ready, 503: UNREADY}
    )
    def ready() -> dict[str, Any]:
        if settings.draining:
            raise Problem(DRAINING, f"{settings.drain_file} exists. Send new requests to another instance.")
        manifest = model.require().manifest
        if reason := current_app.config.get("UNFIT"):
            raise Problem(UNFIT, reason)
        return {
            "status": "ready",
            "model": {"name": manifest.name, "version": manifest.version, "classes": manifest.classes},
            "refused": model.refused or None,
        }

    return routes
