"""HTTP routes, one module per subject."""

from http import HTTPStatus
from typing import Any

from flask_openapi3.blueprint import APIBlueprint

from services.inference.schemas import problem


def blueprint(name: str, **options: Any) -> APIBlueprint:
    """Create a blueprint whose operations are documented alike."""
    responses: dict[str | int | HTTPStatus, Any] = {
        500: problem("Internal error; the log has details under the request id")
    }
    return APIBlueprint(
        name, __name__, abp_responses=responses, operation_id_callback=lambda *, name, **_: name, **options
    )
