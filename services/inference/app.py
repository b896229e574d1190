"""The prediction service: ``gunicorn -c services/inference/gunicorn.conf.py "services.inference.app:create_app()"``."""

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from services.inference import auth as access
from services.inference import model, problems, settings, uploads
from services.inference import request_log as logs
from services.inference import security_headers as headers
from services.inference import telemetry as metrics
from services.inference.routes import health, predict
from services.inference.routes import pages as page
from services.inference.schemas import ProblemDetails, problem

INFO = Info(title="Image classification", version="1", description="Pictures in, labels out.")


def create_app() -> OpenAPI:
    """Build the app from the environment's settings; each gunicorn worker calls this for itself.

    Raises:
        SettingsError: A setting cannot be used (gunicorn.conf.py has checked before, without a traceback).
    """
    config = settings.current()
    app = OpenAPI(
        __name__,
        info=INFO,
        doc_ui=False,
        operation_id_callback=lambda *, name, **_: name,
        responses={500: problem("Something is wrong in this service; the log tells more under the request id")},
        # The library documents an error of its own validation, which is not used here: let it find ours.
        validation_error_status=500,
        validation_error_model=ProblemDetails,
        # Or the library writes null, which is no valid document.
        security_schemes={},
    )
    app.request_class = uploads.Request
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default JSON provider
    app.config.update(
        MAX_CONTENT_LENGTH=config.max_upload_bytes,
        MAX_FORM_MEMORY_SIZE=config.max_upload_bytes,
        MAX_PICTURES=config.max_pictures,
    )
    served = model.load(config.model_dir)
    logs.register(app)
    problems.register(app)
    headers.register(app)
    app.after_request(uploads.drain)
    predict.register(app, served, config)
    health.register(app, served, config)
    metrics.register(app, served)
    page.register(app, served, config)
    access.register(app, config)
    return app
