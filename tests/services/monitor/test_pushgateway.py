"""A result reaches a real Pushgateway as a whole, replaces the previous one, and never stops the job."""

import socket

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from services.monitor.pushgateway import push
from services.monitor.result import Result, recall_metric
from services.monitor.settings import Settings
from tests.prometheus import pushgateway
from tests.services.monitor import stubs

LABELLED = {
    "post_deploy_accuracy": 0.75,
    "post_deploy_recall_cat": 0.5,
    "post_deploy_recall_dog": 1.0,
    "post_deploy_pictures": 4.0,
    "post_deploy_failures": 1.0,
    "post_deploy_latency_p50_ms": 20.0,
    "post_deploy_latency_p95_ms": 250.0,
}
GENERATED = {"post_deploy_predict_success": 0.0, "post_deploy_pictures": 1.0, "post_deploy_failures": 1.0}
# Of the password "secret", with bcrypt's lowest cost.
SECRET = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with pushgateway(tmp_path_factory.mktemp("pushgateway")) as address:
        yield address


def push_to(address, metrics=LABELLED, model="7", healthy=True, classes=None, **changes):
    result = Result(
        started=1_700_000_000_000,
        ended=1_700_000_000_250,
        healthy=healthy,
        predict_url="http://service",
        model_name=model and "stub",
        model_version=model,
        metrics=metrics,
        classes=classes or {},
        problems=[],
    )
    return push(result, Settings(pushgateway_url=address, **changes))


def text(address, **options):
    return requests.get(f"{address}/metrics", timeout=10, **options).text


def pushed(address, **options):
    """Return the samples of the job's group, by name and the job's own labels."""
    return {
        (s.name, tuple(v for k, v in sorted(s.labels.items()) if k not in ("job", "instance"))): s.value
        for family in text_string_to_metric_families(text(address, **options))
        for s in family.samples
        if s.labels.get("job") == "post-deploy-accuracy" and s.name.startswith("post_deploy")
    }


def test_push_replaces_the_previous_result_as_a_whole(gateway, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    requests.put(f"{gateway}/metrics/job/backup", data="backup_done 1\n", timeout=10).raise_for_status()
    assert push_to(gateway) == []
    assert pushed(gateway) == {
        ("post_deploy_healthy", ()): 1,
        ("post_deploy_accuracy", ()): 0.75,
        ("post_deploy_recall", ("cat",)): 0.5,
        ("post_deploy_recall", ("dog",)): 1,
        ("post_deploy_pictures", ()): 4,
        ("post_deploy_failures", ()): 1,
        ("post_deploy_latency_seconds", ("0.5",)): 0.02,
        ("post_deploy_latency_seconds", ("0.95",)): 0.25,
        ("post_deploy_info", ("stub", "7")): 1,
    }
    assert push_to(gateway, GENERATED, model=None, healthy=False) == []
    assert pushed(gateway) == {
        ("post_deploy_healthy", ()): 0,
        ("post_deploy_predict_success", ()): 0,
        ("post_deploy_pictures", ()): 1,
        ("post_deploy_failures", ()): 1,
    }
    assert 'push_time_seconds{instance="",job="post-deploy-accuracy"}' in text(gateway)
    assert 'backup_done{instance="",job="backup"} 1' in text(gateway), "another job's metrics are gone"
    assert list(tmp_path.iterdir()) == [], "the job wrote metrics files into the service's folder"


def test_push_labels_have_the_exact_class(gateway):
    labels = ["c#", "golden retriever", "猫", 'a "quoted"\\ one']
    classes = {recall_metric(label): label for label in labels}
    assert push_to(gateway, dict.fromkeys(classes, 1.0), classes=classes) == []
    assert {key[1] for key in pushed(gateway) if key[0] == "post_deploy_recall"} == {(label,) for label in labels}


def test_push_without_an_address_does_nothing():
    assert push_to(None) == []


def test_push_closed_port_is_a_note(nowhere):
    (note,) = push_to(nowhere)
    assert nowhere in note and "refused" in note and "PUSHGATEWAY_URL" in note


def test_push_rejection_note_has_the_gateways_reason(tmp_path):
    with pushgateway(tmp_path) as address:
        counter = "# TYPE post_deploy_healthy counter\npost_deploy_healthy 1\n"
        requests.put(f"{address}/metrics/job/other", data=counter, timeout=10).raise_for_status()
        (note,) = push_to(address)
    assert "HTTP 400" in note and "inconsistent" in note


@stubs.FINALISERS_MAY_LOSE_EXCEPTIONS
def test_push_silent_or_dripping_server_meets_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent, stubs.dripping(status=500) as dripping:
        for address in (f"http://127.0.0.1:{silent.getsockname()[1]}", dripping):
            (note,) = push_to(address, pushgateway_timeout=0.5)
            assert "PUSHGATEWAY_TIMEOUT=0.5" in note


def test_push_password_in_the_address_is_sent_and_masked(tmp_path):
    web = tmp_path / "web.yml"
    web.write_text(f'basic_auth_users: {{"mon/itor": "{SECRET}"}}\n')
    with pushgateway(tmp_path, f"--web.config.file={web}", credentials="mon%2Fitor:secret@") as address:
        with_password = address.replace("//", "//mon%2Fitor:{}@")
        assert push_to(with_password.format("secret")) == []
        assert ("post_deploy_healthy", ()) in pushed(address, auth=("mon/itor", "secret"))
        (note,) = push_to(with_password.format("wrong-word"))
    assert address.replace("//", "//***@") in note and "HTTP 401" in note
    assert "wrong-word" not in note
