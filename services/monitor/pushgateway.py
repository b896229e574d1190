"""Push the latest result to a Pushgateway, which keeps it for Prometheus after the job has ended."""

from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, push_to_gateway
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import basic_auth_handler
from prometheus_client.registry import Collector

from services.monitor.deadline import TimeUp, time_limit
from services.monitor.proxies import through
from services.monitor.result import RECALL_PREFIX, Result
from services.monitor.settings import Settings, mask_credentials

JOB = "post-deploy-accuracy"
MAX_REASON_LENGTH = 200
UNLABELLED = {
    "post_deploy_accuracy": "Share of the labelled images that were classified right",
    "post_deploy_predict_success": "1 if the generated image was answered; there are no labelled ones",
    "post_deploy_pictures": "Images sent to the service",
    "post_deploy_failures": "Images without an answer",
}
QUANTILES = {"0.5": "post_deploy_latency_p50_ms", "0.95": "post_deploy_latency_p95_ms"}


def push(result: Result, settings: Settings) -> list[str]:
    """Replace the previous result as a whole: no metric of an earlier check stays.

    Returns:
        A sentence about the failure; none on success, or without a PUSHGATEWAY_URL.
    """
    if not settings.pushgateway_url:
        return []
    try:
        with time_limit(settings.pushgateway_timeout):
            problem = _push(result, settings.pushgateway_url)
    except TimeUp:
        problem = f"took no result within PUSHGATEWAY_TIMEOUT={settings.pushgateway_timeout:g} seconds"
    name = f"The Pushgateway at {mask_credentials(settings.pushgateway_url)}"
    return [f"{name} {problem}: see PUSHGATEWAY_URL, and the server's log."] if problem else []


class _ResultCollector(Collector):
    """Prometheus metrics of a result: in seconds, with labels instead of MLflow's name suffixes.

    Not Gauge objects: they would write files if PROMETHEUS_MULTIPROC_DIR is set.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def collect(self) -> Iterator[GaugeMetricFamily]:
        metrics = self._result.metrics
        yield GaugeMetricFamily("post_deploy_healthy", "1 if the last check found no problem", self._result.healthy)
        for name, text in UNLABELLED.items():
            if name in metrics:
                yield GaugeMetricFamily(name, text, metrics[name])
        recall = GaugeMetricFamily("post_deploy_recall", "Recall of a class", labels=["class"])
        for name, value in metrics.items():
            if name.startswith(RECALL_PREFIX):
                recall.add_metric([self._result.classes.get(name, name.removeprefix(RECALL_PREFIX))], value)
        yield recall
        latency = GaugeMetricFamily("post_deploy_latency_seconds", "Time to an answer", labels=["quantile"])
        for quantile, name in QUANTILES.items():
            if name in metrics:
                latency.add_metric([quantile], metrics[name] / 1000)
        yield latency
        info = GaugeMetricFamily("post_deploy_info", "The model that answered", labels=["model_name", "model_version"])
        if self._result.model_name and self._result.model_version:
            info.add_metric([self._result.model_name, self._result.model_version], 1)
        yield info


def _push(result: Result, address: str) -> str:
    """Push a result and return what went wrong, or an empty string."""
    registry = CollectorRegistry()
    registry.register(_ResultCollector(result))
    parts = urlsplit(address)
    # prometheus_client would take credentials in an address for a part of the host name.
    gateway = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    handler = partial(
        basic_auth_handler,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or ""),
    )
    try:
        # The caller's timer limits the whole push; a timeout per read would race with it.
        push_to_gateway(gateway, JOB, registry, timeout=None, handler=handler)
    except HTTPError as error:
        with error:
            text = error.read(MAX_REASON_LENGTH).decode(errors="replace")
        return f"rejects the result (HTTP {error.code} {error.reason}; {text.strip()})"
    except (OSError, HTTPException) as error:
        return f"cannot be reached{through(gateway)} ({getattr(error, 'reason', error)})"
    return ""
