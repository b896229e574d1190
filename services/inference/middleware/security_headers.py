"""Restrict browsers, except pages of allowed origins (CORS): headers of every answer."""

from collections.abc import Collection

from flask import Flask, Response, request

# No 'unsafe-inline': the page and Swagger UI load their scripts and styles from files.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


CORS = {
    "Access-Control-Expose-Headers": "Retry-After, WWW-Authenticate, X-Request-ID",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-ID",
    "Access-Control-Max-Age": "3600",  # seconds without another question
}
ANY_ORIGIN = "*"


def init_app(app: Flask, origins: Collection[str] = ()) -> None:
    """Add the headers to every answer of the app, and let pages of these origins read it."""

    @app.after_request
    def add(response: Response) -> Response:
        response.headers.update(HEADERS)
        if origins:
            response.vary.add("Origin")
            origin = request.headers.get("Origin", "")
            if ANY_ORIGIN in origins or origin in origins:
                response.headers["Access-Control-Allow-Origin"] = ANY_ORIGIN if ANY_ORIGIN in origins else origin
                response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST"
                response.headers.update(CORS)
        return response
