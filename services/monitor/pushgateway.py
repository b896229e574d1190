"""The latest result's way to Prometheus: a Pushgateway keeps it until the next one, because the job is gone by then."""

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
from services.monitor.names import RECALL, masked
from services.monitor.result import Result
from services.monitor.settings import Settings

JOB = "post-deploy-accuracy"
LONGEST_REASON = 200
PLAIN = {
    "post_deploy_accuracy": "Share of the labelled pictures that were classified right",
    "post_deploy_predict_success": "1 if the drawn picture was answered; there are no labelled ones",
    "post_deploy_pictures": "Pictures asked about",
    "post_deploy_failures": "Pictures that were not answered",
}
QUANTILES = {"0.5": "post_deploy_latency_p50_ms", "0.95": "post_deploy_latency_p95_ms"}


def push(result: Result, settings: Settings) -> list[str]:
    """Replace the last pushed result with this one, whole: no value of an earlier check stays.

    Returns:
        Sentences about what is not as it should be; none if it is pushed, or if no Pushgateway is set.
    """
    if not settings.pushgateway_url:
        return []
    name = f"The Pushgateway at {masked(settings.pushgateway_url)}"
    try:
        with time_limit(settings.pushgateway_timeout):
            problem = _put(result, settings.pushgateway_url)
    except TimeUp:
        problem = f"took no result within PUSHGATEWAY_TIMEOUT={settings.pushgateway_timeout:g} seconds"
    return [f"{name} {problem}: see PUSHGATEWAY_URL, and the log of what runs there."] if problem else []


def families(result: Result) -> Iterator[GaugeMetricFamily]:
    """Give a result as Prometheus has it: seconds, and labels where MLflow's names end in a class or a quantile."""
    yield GaugeMetricFamily("post_deploy_healthy", "1 if the last check found all as it should be", result.healthy)
    for name, about in PLAIN.items():
        if name in result.metrics:
            yield GaugeMetricFamily(name, about, result.metrics[name])
    recall = GaugeMetricFamily("post_deploy_recall", "Share of a class's pictures classified right", labels=["class"])
    for name, value in result.metrics.items():
        if name.startswith(RECALL):
            recall.add_metric([name.removeprefix(RECALL)], value)
    yield recall
    latency = GaugeMetricFamily("post_deploy_latency_seconds", "Time to an answer", labels=["quantile"])
    for quantile, name in QUANTILES.items():
        if name in result.metrics:
            latency.add_metric([quantile], result.metrics[name] / 1000)
    yield latency
    info = GaugeMetricFamily("post_deploy_info", "The model that answered", labels=["model_name", "model_version"])
    if result.model_name and result.model_version:
        info.add_metric([result.model_name, result.model_version], 1)
    yield info


class _Families(Collector):
    """Not Gauge objects: those write files of their own where PROMETHEUS_MULTIPROC_DIR is set."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return families(self._result)


def _put(result: Result, address: str) -> str:
    """Push a result; say what went wrong, or nothing."""
    registry = CollectorRegistry()
    registry.register(_Families(result))
    parts = urlsplit(address)
    # The library would take a name and password in an address for a part of the host.
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    handler = partial(
        basic_auth_handler,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or ""),
    )
    try:
        # The caller's timer bounds the whole; a limit of every single read would only race with it.
        push_to_gateway(place, JOB, registry, timeout=None, handler=handler)
    except HTTPError as error:
        with error:
            text = error.read(LONGEST_REASON).decode(errors="replace")
        return f"refuses the result (HTTP {error.code} {error.reason}; {text.strip()})"
    except (OSError, HTTPException) as error:
        return f"cannot be reached ({getattr(error, 'reason', error)})"
    return ""
