"""A result reaches a real Pushgateway whole, replaces the one before, and never hinders the job."""

import socket
import threading

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from services.monitor.pushgateway import push
from services.monitor.result import Result
from services.monitor.settings import Settings
from tests import servers
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
DRAWN = {"post_deploy_predict_success": 0.0, "post_deploy_pictures": 1.0, "post_deploy_failures": 1.0}
# Of the password "secret", with bcrypt's lowest cost.
SECRET = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with pushgateway(tmp_path_factory.mktemp("pushgateway")) as address:
        yield address


def result(metrics=LABELLED, model="7", healthy=True):
    return Result(
        started=1_700_000_000_000,
        ended=1_700_000_000_250,
        healthy=healthy,
        predict_url="http://service",
        model_name=model and "stub",
        model_version=model,
        metrics=metrics,
        problems=[],
    )


def settings(address, **changes):
    return Settings.model_validate({"pushgateway_url": address} | changes)


def pushed(address, **options):
    """Every sample of the job's group, by name and the labels that the job gave."""
    text = requests.get(f"{address}/metrics", timeout=10, **options).text
    return {
        (s.name, tuple(v for k, v in sorted(s.labels.items()) if k not in ("job", "instance"))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if s.labels.get("job") == "post-deploy-accuracy" and s.name.startswith("post_deploy")
    }


def test_a_result_is_in_the_pushgateway_in_seconds_and_with_labels(address):
    assert push(result(), settings(address)) == []
    assert pushed(address) == {
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
    text = requests.get(f"{address}/metrics", timeout=10).text
    assert 'push_time_seconds{instance="",job="post-deploy-accuracy"}' in text


def test_nothing_of_an_earlier_check_stays(address):
    assert push(result(), settings(address)) == []
    assert push(result(DRAWN, model=None, healthy=False), settings(address)) == []
    assert pushed(address) == {
        ("post_deploy_healthy", ()): 0,
        ("post_deploy_predict_success", ()): 0,
        ("post_deploy_pictures", ()): 1,
        ("post_deploy_failures", ()): 1,
    }


def test_what_others_pushed_is_left_alone(address):
    requests.put(f"{address}/metrics/job/backup", data="backup_done 1\n", timeout=10).raise_for_status()
    assert push(result(), settings(address)) == []
    assert 'backup_done{instance="",job="backup"} 1' in requests.get(f"{address}/metrics", timeout=10).text


def test_the_jobs_own_counters_write_no_files_for_the_service(address, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert push(result(), settings(address)) == []
    assert list(tmp_path.iterdir()) == []


def test_without_an_address_nothing_is_pushed_and_nothing_said():
    assert push(result(), Settings()) == []


def test_a_pushgateway_that_is_down_is_said(tmp_path):
    address = f"http://127.0.0.1:{servers.free_port()}"
    (note,) = push(result(), settings(address))
    assert note.startswith(f"The Pushgateway at {address} cannot be reached") and "refused" in note
    assert "see PUSHGATEWAY_URL" in note


def test_a_refusal_is_said_with_the_pushgateways_reason(tmp_path):
    with pushgateway(tmp_path) as address:
        counter = "# TYPE post_deploy_healthy counter\npost_deploy_healthy 1\n"
        requests.put(f"{address}/metrics/job/other", data=counter, timeout=10).raise_for_status()
        (note,) = push(result(), settings(address))
    assert "refuses the result (HTTP 400" in note and "inconsistent" in note


def test_a_server_that_never_answers_and_one_that_never_ends_meet_the_time_limit():
    over = threading.Event()

    def begin_to_refuse(handler, _body):
        handler.send_response(500)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        over.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as silent, stubs.serving(begin_to_refuse) as refusing:
        for address in (f"http://127.0.0.1:{silent.getsockname()[1]}", refusing):
            (note,) = push(result(), settings(address, pushgateway_timeout=0.5))
            assert "took no result within PUSHGATEWAY_TIMEOUT=0.5" in note
        over.set()


def test_a_password_in_the_address_opens_the_door_and_is_never_said(tmp_path):
    web = tmp_path / "web.yml"
    web.write_text(f'basic_auth_users: {{"mon/itor": "{SECRET}"}}\n')
    with pushgateway(tmp_path, f"--web.config.file={web}", credentials="mon%2Fitor:secret@") as address:
        with_password = address.replace("//", "//mon%2Fitor:{}@")
        assert push(result(), settings(with_password.format("secret"))) == []
        assert ("post_deploy_healthy", ()) in pushed(address, auth=("mon/itor", "secret"))
        (note,) = push(result(), settings(with_password.format("wrong-word")))
    assert f"The Pushgateway at {address.replace('//', '//***@')} refuses the result (HTTP 401" in note
    assert "wrong-word" not in note
