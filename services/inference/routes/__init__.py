"""HTTP routes, one module per subject."""

from http import HTTPStatus
from typing import Any

from flask import request
from flask_openapi3.blueprint import APIBlueprint

from bundle.preprocess import FORMATS
from services.inference.auth import Keys, client_address
from services.inference.limits import RateLimiter
from services.inference.schemas import problem
from services.inference.settings import Settings
from services.inference.uploads import base64_images, body

# Documented because clients may choose it. Some generators of clients also fail without any optional parameter.
REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "names the request in the log and in the answer's header; by default a new id",
    "schema": {"type": "string"},
}
BINARY = {"type": "string", "format": "binary"}
BASE64 = {"type": "string", "format": "byte", "description": "the file's bytes as base64, or a data URL"}
Responses = dict[str | int | HTTPStatus, Any]
INTERNAL: Responses = {500: problem("Internal error; the log has details under the request id")}


def request_body(description: str, files: dict[str, Any], texts: dict[str, Any]) -> dict[str, Any]:
    """Document a request that carries images, with the schemas of the form's and the JSON's field."""
    return {
        "description": f"{description} Formats: {', '.join(FORMATS)}.",
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {body.FIELD: files}, "required": [body.FIELD]}
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {base64_images.FIELD: texts},
                    "required": [base64_images.FIELD],
                }
            },
            "image/*": {"schema": BINARY},
            "application/octet-stream": {"schema": BINARY},
        },
    }


def blueprint(name: str, responses: Responses = INTERNAL, **options: Any) -> APIBlueprint:
    """Create a blueprint whose operations are documented alike."""
    return APIBlueprint(
        name, __name__, abp_responses=responses, operation_id_callback=lambda *, name, **_: name, **options
    )


def client_blueprint(name: str, settings: Settings) -> APIBlueprint:
    """Create a blueprint that requires an API key and limits the rate of each client, where the settings say so."""
    keys = Keys(settings.api_keys_file) if settings.api_keys_file else None
    rate_limiter = RateLimiter(settings.rate_limit) if settings.rate_limit else None
    responses = dict(INTERNAL)
    if keys:
        responses[401] = problem("No API key, or an unknown one")
    if rate_limiter:
        responses[429] = problem(f"More than {settings.rate_limit} from one client; see Retry-After")
    routes = blueprint(name, responses, abp_security=[{"apiKey": []}] if keys else None)

    def check_client() -> None:
        if request.method == "OPTIONS":  # browsers ask for permission without a key
            return
        client = keys.require_owner(request) if keys else client_address()
        if rate_limiter:
            rate_limiter.take(client)

    if keys or rate_limiter:
        routes.before_request(check_client)
    return routes
