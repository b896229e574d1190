"""Two real services, the monitor, a Pushgateway and Prometheus: the dashboards and alerts that result.

Prometheus runs the repository's own configuration and rules, with static targets instead of service discovery.
"""

import json
import math
import socket
import time
from dataclasses import dataclass
from functools import partial

import pytest
import requests

from bundle.signals import POSITIONS, SIGNALS
from services.inference.telemetry.prometheus import LATENCY
from tests import bundles, drawn_images, monitor, prometheus, servers
from tests.drawn_images import BLUE, GREEN, RED, WHITE
from tests.kustomize import dashboards
from tests.kustomize.prometheus_config import endpoint, names, queries, rules, static
from tests.prometheus import values, wait_until
from tests.services.inference.serving import service

REFERENCE = {
    "predicted_classes": {"red": 0.5, "green": 0.25, "blue": 0.25},
    "confidence_bins": [0.3, 0.6, 0.9, 1.0],
    "confidence_shares": [0.1, 0.2, 0.7],
    "images": 400,
    # Three bins, of which the last has the brightest, sharpest, … half.
    "signals": {key: {"edges": [0.2, 0.9], "shares": [0.25, 0.25, 0.5]} for key in SIGNALS},
    "uncertain": 0.01,
    "confidence": {"mean": 0.95, "deviation": 0.05},
}
METRICS = bundles.manifest_for(b"", bundles.CLASSES, bundles.SIZE)["metrics"] | {"accuracy": 0.9}
# To the first service: 6 + 1 that are answered, 415, 500, and the monitor's 5; to the second: 200, 400 and 503.
REQUESTS = 17
QUERIES = [
    pytest.param(panel, target, id=f"{uid}-{panel['title']}-{target['refId']}")
    for uid in dashboards.UIDS
    for panel, target in dashboards.targets(dashboards.load(uid))
]
# Ratios of nothing, latencies of no request, and results before the first check have no value.
EMPTY_AT_REST = {
    "Latency p95",
    "Latency of /predict",
    "Latency of /predict, distribution",
    "Share of the classes, live and before deployment",
    "Distance from the reference",
    "Accuracy without labels",
    "Uncertain answers",
    "Brightness",
    "Contrast",
    "Sharpness",
    "Out-of-distribution score",
    "Confidence, by position",
    "Label, by position",
    "Accuracy now",
    "Pictures in the last check",
    "Last check",
    "Age of the last check",
    "Accuracy after deployment",
    "Recall by class after deployment",
    "Latency after deployment",
    "Pictures of the post-deploy check",
}


@dataclass
class Monitoring:
    """A Prometheus that watched the service, and two times, in seconds since 1970, before and after all requests."""

    address: str
    at_rest: float
    at_work: float
    requests: int

    def query(self, expression, at=None):
        return values(self.address, dashboards.interpolate(expression), at or self.at_work)

    def panel(self, uid, title):
        """Return the values of a panel, by its queries' letters."""
        (panel,) = (panel for panel in dashboards.load(uid)["panels"] if panel["title"] == title)
        return {target["refId"]: self.query(target["expr"]) for target in panel["targets"]}


@pytest.fixture(scope="module")
def monitoring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitoring")
    bundle = bundles.write(folder / "bundle", version="9", fragile=True, metrics=METRICS, reference=REFERENCE)
    port = servers.free_port()
    with (
        service(folder, MODEL_DIR=bundle) as first,
        service(folder, MODEL_DIR=bundle, WORKERS=1, MAX_UPLOAD_BYTES=200_000, MAX_UPLOAD_MEMORY=200_000) as second,
        prometheus.pushgateway(folder) as gateway,
    ):
        first.wait_for_workers()
        pods = {"first": first, "second": second}
        targets = {
            "mlops-service": [
                endpoint("mlops-service", f"127.0.0.1:{pod.port}", pod_name=name) for name, pod in pods.items()
            ],
            "pushgateway": [endpoint("pushgateway", gateway.removeprefix("http://"), namespace="monitoring")],
            "prometheus": f"127.0.0.1:{port}",
        }
        with prometheus.prometheus(folder, static(folder, targets), port) as address:
            wait_until(address, "count(count_over_time(up[1m]) >= 5) == 4")
            at_rest = time.time()
            requests = REQUESTS + send_requests(first, second)
            check(folder, first, gateway)
            wait_until(address, f'sum(request_count_total{{endpoint="/predict"}}) >= {requests}')
            wait_until(address, "post_deploy_pictures == 5 and on () cluster:post_deploy_accuracy:floor")
            yield Monitoring(address, at_rest, time.time(), requests)


def send_requests(first, second):
    """Send nine images that are classified, three bad requests, and one while the second service is full.

    Return how many more were answered before it was full.
    """
    for colour in (RED, RED, RED, GREEN, GREEN, BLUE):
        assert first.predict(drawn_images.plain(colour)).status_code == 200
    assert first.predict(drawn_images.plain(RED), drawn_images.plain(BLUE)).status_code == 200
    assert first.send(b"not an image").status_code == 415
    assert first.predict(drawn_images.plain(WHITE)).status_code == 500
    assert first.get("/made/up").status_code == 404
    assert second.predict(drawn_images.plain(GREEN)).status_code == 200
    with socket.create_connection(("127.0.0.1", second.port)) as slow:
        head = "POST /predict HTTP/1.1\r\nHost: pod\r\nContent-Type: image/jpeg\r\nContent-Length: 200000\r\n\r\n"
        slow.sendall(head.encode() + bytes(190_000))
        answered = 0
        large = drawn_images.plain(RED) + bytes(100_000)
        while second.send(large).status_code != 503:  # until the slow upload is in memory
            answered += 1
    return answered


def check(folder, pod, gateway):
    """Run the post-deploy job on five labelled images, one of which has the wrong label."""
    labelled = folder / "labelled"
    labelled.mkdir()
    for name, colour in {"red__1": RED, "red__2": RED, "green__1": GREEN, "blue__1": BLUE, "blue__2": RED}.items():
        (labelled / f"{name}.jpg").write_bytes(drawn_images.plain(colour))
    done = monitor.run(
        PREDICT_URL=pod.address,
        PUSHGATEWAY_URL=gateway,
        PUSHGATEWAY_TIMEOUT=60,
        LABELLED_IMAGES=labelled,
        SPOOL_DIR=folder / "spool",
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{servers.free_port()}",
    )
    assert done.returncode == 0, done.stderr
    assert not [note for note in json.loads(done.stdout)["delivery"] if "Pushgateway" in note]


def test_targets_are_up_and_labelled_with_their_pods(monitoring):
    up = prometheus.query(monitoring.address, "up")
    assert sorted((one["metric"]["job"], one["metric"].get("pod"), one["value"][1]) for one in up) == [
        ("mlops-service", "first", "1"),
        ("mlops-service", "second", "1"),
        ("prometheus", None, "1"),
        ("pushgateway", None, "1"),
    ]


@pytest.mark.parametrize(("panel", "target"), QUERIES)
def test_panel_has_finite_values_at_work_and_at_rest(monitoring, panel, target):
    answer = monitoring.query(target["expr"])
    assert answer and all(math.isfinite(value) for value in answer.values()), f"{target['expr']}\n{answer}"
    answer = monitoring.query(target["expr"], monitoring.at_rest)
    assert all(math.isfinite(value) for value in answer.values()), f"{target['expr']}\n{answer}"
    assert answer or panel["title"] in EMPTY_AT_REST, target["expr"]


def test_service_dashboard_shows_the_requests(monitoring):
    show = partial(monitoring.panel, "service")
    assert show("Ready pods") == {"A": {(): 2}, "B": {(): 2}}
    assert show("Model")["A"] == {("colours", "9"): 2}
    assert show("Error ratio of /predict")["A"][()] > 0 < show("Requests refused for want of a place")["A"][()]
    latency = show("Latency of /predict")
    assert 0 < latency["A"][()] <= latency["B"][()] <= latency["C"][()] < 30
    assert show("Requests by endpoint")["A"].keys() >= {("/predict",), ("/metrics",), ("other",)}
    assert show("Requests to /predict by status")["A"].keys() == {("200",), ("400",), ("415",), ("500",), ("503",)}
    assert show("Predictions in flight")["A"] == {("first",): 0, ("second",): 0}
    buckets = show("Latency of /predict, distribution")["A"]
    assert buckets.keys() == {(str(float(limit)),) for limit in LATENCY} | {("+Inf",)}
    # A rate is extrapolated beyond the first and last sample, differently for each bucket's counter.
    assert min(buckets.values()) >= 0 < buckets[("+Inf",)] == pytest.approx(max(buckets.values()), rel=0.5)


def test_request_counter_adds_up_over_pods_and_workers(monitoring):
    by_endpoint = monitoring.query("sum by (endpoint) (request_count_total)")
    assert by_endpoint[("/predict",)] == monitoring.requests
    assert by_endpoint[("other",)] == 1
    assert monitoring.query("sum(request_count_total)")[()] >= sum(by_endpoint.values())


def test_model_dashboard_shows_the_check(monitoring):
    show = partial(monitoring.panel, "model")
    assert show("Accuracy before deployment")["A"] == {(): 0.9}
    assert show("Accuracy now")["A"] == {(): 0.8}
    assert show("Pictures in the last check") == {"A": {(): 5}, "B": {(): 0}}
    assert show("Last check")["A"] == {(): 1}
    assert 0 <= show("Age of the last check")["A"][()] < 300
    assert show("Recall by class after deployment")["A"] == {("red",): 1, ("green",): 1, ("blue",): 0.5}
    accuracy = show("Accuracy after deployment")
    assert accuracy["C"][()] < accuracy["A"][()] < accuracy["B"][()]
    assert show("Latency after deployment")["A"].keys() == {("0.5",), ("0.95",)}


def test_model_dashboard_compares_live_shares_with_the_reference(monitoring):
    show = partial(monitoring.panel, "model")
    classes = show("Share of the classes, live and before deployment")
    assert classes["B"] == {("red",): 0.5, ("green",): 0.25, ("blue",): 0.25}
    assert classes["A"].keys() == classes["B"].keys()
    assert sum(classes["A"].values()) == pytest.approx(1)
    # 4 red, 3 green and 2 blue. Without the monitor's, more than half of which are red.
    assert classes["A"][("red",)] == pytest.approx(4 / 9, abs=0.05)


def test_model_dashboard_shows_signals_beside_their_reference(monitoring):
    show = partial(monitoring.panel, "model")
    for title in ("Brightness", "Sharpness", "Out-of-distribution score", "Confidence, by position"):
        panel = show(title)
        assert panel["B"] == pytest.approx(
            {(str(at),): 0.25 * (at >= 0.25) + 0.25 * (at >= 0.5) + 0.5 * (at >= 1) for at in POSITIONS}
        )
        assert panel["A"].keys() - panel["B"].keys() == {("+Inf",)}
        assert panel["A"][("1.0",)] == pytest.approx(1)
    # Plain images are not sharp at all, and their confidence is over 0.9.
    assert show("Sharpness")["A"][("0.25",)] == pytest.approx(1)
    assert show("Confidence, by position")["A"][("0.95",)] == 0
    distance = show("Distance from the reference")
    # The rules of a group are evaluated one after the other, while images may still be counted.
    assert distance["A"][("mlops-service", "sharpness")] == pytest.approx(0.75, abs=0.2)
    assert distance["A"][("mlops-service", "confidence")] == pytest.approx(0.5, abs=0.2)
    assert distance["B"][()] > 0
    accuracy = show("Accuracy without labels")
    assert 0.9 < accuracy["A"][("mlops-service",)] <= 1 and accuracy["B"] == {(): 0.95}
    assert show("Uncertain answers")["B"] == {(): 0.01}


def test_rules_are_evaluated_without_error(monitoring):
    deadline = time.monotonic() + 30
    while True:
        groups = requests.get(f"{monitoring.address}/api/v1/rules", timeout=10).json()["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in found):
            break
        assert time.monotonic() < deadline, "the rules are not evaluated"
        time.sleep(0.2)
    assert len(found) == len(rules())
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []


def test_metrics_of_rules_and_runbooks_exist(monitoring):
    used = set().union(*(names(expression) for expression in [*(rule["expr"] for rule in rules()), *queries()]))
    existing = requests.get(f"{monitoring.address}/api/v1/label/__name__/values", timeout=10).json()["data"]
    assert used <= set(existing)
