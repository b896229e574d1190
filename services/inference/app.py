"""Create the prediction service.

Run it with ``gunicorn -c services/inference/gunicorn.conf.py "services.inference.app:create_app()"``.
"""

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from services.inference import problems, self_test, settings
from services.inference.limits import UploadMemory
from services.inference.middleware import security_headers
from services.inference.middleware.path_prefix import PathPrefix
from services.inference.middleware.trusted_proxies import TrustedProxies
from services.inference.model import load_model
from services.inference.routes import explain, health, metrics, pages, predict
from services.inference.schemas import ProblemDetails
from services.inference.telemetry import prometheus, request_log
from services.inference.uploads import body

INFO = Info(title="Image classification", version="1", description="Images in, labels out.")


def create_app(config: settings.Settings | None = None) -> OpenAPI:
    """Create the app; each gunicorn worker calls this for itself.

    Args:
        config: By default the settings of the environment.

    Raises:
        SettingsError: A setting is invalid (gunicorn.conf.py has checked before, without a traceback).
    """
    config = config or settings.current()
    app = OpenAPI(
        __name__,
        info=INFO,
        doc_ui=False,
        # The library documents an error of its own validation, which is not used here.
        validation_error_status=500,
        validation_error_model=ProblemDetails,
        security_schemes={"apiKey": {"type": "http", "scheme": "bearer"}} if config.api_keys_file else {},
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default JSON provider
    app.config.update(MAX_CONTENT_LENGTH=config.max_upload_bytes, MAX_PICTURES=config.max_pictures)
    app.wsgi_app = PathPrefix(app.wsgi_app, config.path_prefix)  # type: ignore[method-assign]
    if config.trusted_proxies:
        app.wsgi_app = TrustedProxies(app.wsgi_app, config.trusted_proxies)  # type: ignore[method-assign]
    model = load_model(config.model_dir, config.model_public_key)
    request_log.init_app(app)
    problems.init_app(app)
    security_headers.init_app(app, config.cors_origins)
    app.after_request(body.discard_rest)
    exporter = prometheus.init_app(app, model, request_log.endpoint)
    app.register_api(health.create_blueprint(model, config))
    app.register_api(metrics.create_blueprint(exporter))
    app.register_api(pages.create_blueprint(model, config))
    queue = predict.create_queue(model, config)
    memory = UploadMemory(max(config.max_upload_memory, config.max_upload_bytes))
    app.register_api(predict.create_blueprint(model, config, queue, memory))
    app.register_api(explain.create_blueprint(model, config, queue, memory))
    if config.metrics_port:
        metrics.separate_port(app, config.metrics_port)
    if model.predictor and (reason := self_test.run(app)):
        app.config["UNFIT"] = reason
        prometheus.model_ready.set(0)
    return app
