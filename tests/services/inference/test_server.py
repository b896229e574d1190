"""The service as gunicorn runs it: connections, signals, processes."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests import bundles, servers
from tests import drawn_images as images
from tests.drawn_images import GREEN, RED
from tests.services.inference.clients import Clients
from tests.services.inference.serving import COMMAND, service, start_error

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
IMAGE = images.plain()
LIMIT = 10_000


@pytest.fixture(scope="module")
def small(bundle, tmp_path_factory):
    """One worker with small limits."""
    limits = {"WORKERS": 1, "MAX_UPLOAD_BYTES": LIMIT, "UPLOAD_TIMEOUT": 1, "LOG_LEVEL": "debug"}
    with service(tmp_path_factory.mktemp("small"), MODEL_DIR=bundle, **limits) as running:
        running.wait_for_workers(1)
        yield running


@pytest.fixture
def own(bundle, tmp_path):
    """One worker that a test may stop, which then waits for open requests."""
    (tmp_path / "drain").touch()  # the start removes it: the volume outlives the container that was drained
    settings = {"WORKERS": 1, "DRAIN_FILE": tmp_path / "drain", "GRACEFUL_TIMEOUT": 20}
    with service(tmp_path, MODEL_DIR=bundle, **settings) as running:
        running.wait_for_workers(1)
        yield running


def answer(connection):
    """Return status, Connection header and body of the next answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.headers["Connection"], response.read()


def problem(connection):
    status, _, body = answer(connection)
    return status, json.loads(body)["type"].removeprefix("urn:problem:")


@pytest.mark.parametrize(
    ("name", "value"),
    [("WORKERS", "many"), ("HOST", "192.0.2.1"), ("PROMETHEUS_MULTIPROC_DIR", "/dev/null/metrics")],
)
def test_invalid_setting_ends_the_start_with_one_sentence(tmp_path, name, value):
    status, output = start_error(tmp_path, **{name: value})
    assert status
    assert output.startswith(f"{name} is '{value}', but ")
    assert output.endswith(".\n") and output.count("\n") == 1


def test_unusable_keys_end_the_start_and_are_not_quoted(tmp_path):
    (tmp_path / "keys").write_text("secret\n")
    status, output = start_error(tmp_path, API_KEYS_FILE=tmp_path / "keys")
    assert status
    assert output.splitlines()[-1].startswith("API_KEYS_FILE is ")
    assert "secret" not in output and "Traceback" not in output


def test_taken_port_is_named(shared, tmp_path):
    with servers.running([sys.executable, *COMMAND], tmp_path / "log", {"PORT": str(shared.port)}) as second:
        assert second.wait(30)
    assert f"127.0.0.1', {shared.port}" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("limit", "share"), [("1073741824", 469_762_048), ("max", -1)])
def test_worker_may_allocate_its_share_of_the_container(tmp_path, limit, share):
    (tmp_path / "memory.max").write_text(limit)
    code = """if True:
        import pathlib, resource, runpy, sys
        from services.inference.container import cgroups
        cgroups.FOLDER = pathlib.Path(sys.argv[1])
        runpy.run_path("services/inference/gunicorn.conf.py")["post_fork"](None, None)
        print(resource.getrlimit(resource.RLIMIT_DATA))"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    env = servers.environment() | {"WORKERS": "2", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=servers.ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"({share}, {share})\n"


def test_https_with_certfile(bundle, tmp_path):
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", servers.free_port()
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, capture_output=True, check=True)
    command = [sys.executable, *COMMAND, "--certfile", str(certificate), "--keyfile", str(key)]
    env = {"PORT": str(port), "WORKERS": "1", "MODEL_DIR": str(bundle)}
    with servers.running(command, tmp_path / "log", env) as process, requests.Session() as session:
        address, options = f"https://127.0.0.1:{port}", {"timeout": 30, "verify": str(certificate)}
        servers.wait_for(f"{address}/health", process, tmp_path / "log", verify=str(certificate))
        for _ in range(2):
            assert session.post(f"{address}/predict", files={"file": IMAGE}, **options).json()["label"] == "red"


def test_two_requests_sent_together_are_answered_in_order(shared):
    green = images.plain(GREEN)
    received = b""
    with shared.connect(POST % len(IMAGE) + IMAGE + POST % len(green) + green) as connection:
        # The two answers may arrive in one piece, of which http.client would lose the second.
        while received.count(b'"version"') < 2 and (data := connection.recv(65536)):
            received += data
    answers = [part.partition(b"\r\n\r\n") for part in received.split(b"HTTP/1.1 ")[1:]]
    assert all(head.startswith(b"200 ") and b"keep-alive" in head for head, _, _ in answers)
    assert [json.loads(body)["label"] for _, _, body in answers] == ["red", "green"]


def test_concurrent_requests_get_their_own_answers(shared):
    colours = {"red": images.RED, "green": images.GREEN, "blue": images.BLUE}
    sent = list(colours) * 20
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: shared.predict(images.plain(colours[name])), sent))
    assert [answer.json()["label"] for answer in answers] == sent


def test_log_is_json_with_time_and_request_id(shared):
    found = shared.line(shared.predict(IMAGE).headers["X-Request-ID"])
    assert found["time"].startswith("20")
    assert (found["level"], found["message"], found["endpoint"]) == ("INFO", "request", "/predict")
    assert found["process"] in shared.workers()
    assert [line for line in shared.lines() if line["message"].startswith("Starting gunicorn")]


def test_debug_log_has_no_lines_of_pillow(small):
    """Its threads are no greenlets; they could wait for the lock of the log for ever."""
    assert small.send(images.plain(RED, "PNG"), "image/png").status_code == 200
    assert small.lines_at("DEBUG")
    assert not [line for line in small.lines() if line["logger"].startswith("PIL")]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GET[:-2] + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (POST.replace(b"%d", b"many"), 400),
        (b"nonsense\r\n\r\n", 400),
    ],
    ids=["long header", "long line", "bad length", "nonsense"],
)
def test_malformed_request_is_refused_by_gunicorn(small, data, status):
    with small.connect(data) as connection:
        assert answer(connection)[0] == status
    assert small.get("/health").status_code == 200


@pytest.mark.parametrize("start", [b"", b"GET", GET[:-2] + b"X-Slow: ", POST % 1000], ids=["", "line", "head", "body"])
def test_idle_and_dripping_connections_do_not_stop_others(shared, start):
    with contextlib.ExitStack() as stack, requests.Session() as kept:
        slow = [stack.enter_context(shared.connect(start)) for _ in range(40)]
        for _ in range(3):
            for connection in slow:
                connection.sendall(b"a")
            assert shared.send(IMAGE).status_code == 200
            assert kept.get(f"{shared.address}/health", timeout=30).status_code == 200
        assert not select.select(slow, [], [], 0)[0], "this test means nothing if they were closed before"


def test_dripping_head_is_closed(shared):
    with shared.connect(GET[:-2] + b"X-Slow: ") as connection, contextlib.suppress(ConnectionError):
        for _ in range(60):
            if select.select([connection], [], [], 0.5)[0]:
                assert connection.recv(100) == b""
                break
            connection.sendall(b"a")
        else:
            raise AssertionError("still open after 30 seconds")


def test_tls_sent_to_the_plain_port_ends_before_a_silent_connection(shared):
    with shared.connect() as silent, shared.connect() as tls:
        tls.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        readable, _, _ = select.select([silent, tls], [], [], 60)
        assert readable == [tls] and tls.recv(1) == b""


def test_body_may_begin_like_a_tls_handshake(shared):
    body = b"\x16\x03\x01"
    with shared.connect(POST % len(body)) as connection:
        time.sleep(0.1)  # so that the body comes alone
        connection.sendall(body)
        assert problem(connection) == (415, "not-a-picture")


def test_slow_upload_times_out(small):
    with small.connect(POST % 5000 + IMAGE[:100]) as connection:
        assert problem(connection) == (408, "upload-timeout")
    with small.connect(POST % 5000) as dripping:
        while not select.select([dripping], [], [], 0.2)[0]:
            dripping.sendall(b"a")
        assert problem(dripping) == (408, "upload-timeout")


def test_upload_that_breaks_off_is_a_problem_and_no_error(small):
    with small.connect(POST % 5000 + IMAGE[:100]) as connection:
        connection.shutdown(1)
        assert problem(connection) == (400, "broken-upload")
    small.connect(POST % 5000 + IMAGE[:100]).close()
    chunks = b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nnonsense\r\n"
    # The rest of a body that was refused is read afterwards.
    for route, expected in ((b"/predict", (400, "broken-upload")), (b"/nowhere", (404, "not-found"))):
        with small.connect(b"POST " + route + chunks) as connection:
            assert problem(connection) == expected
    assert small.predict(IMAGE).status_code == 200
    assert not small.lines_at("ERROR")


def test_chunked_body_is_limited(small):
    response = small.send(IMAGE[start : start + 100] for start in range(0, len(IMAGE), 100))
    assert response.json()["label"] == "red"
    assert small.send(bytes(1000) for _ in range(15)).status_code == 413


def test_too_large_upload_is_refused_before_it_is_sent(small):
    with small.connect(POST % 10**9) as connection:
        assert problem(connection) == (413, "too-large")


@pytest.mark.parametrize("size", [LIMIT + 1, 60_000, 3_000_000])
def test_client_that_sends_everything_first_gets_its_413(small, size):
    for _ in range(5):
        assert small.send(bytes(size)).status_code == 413


def test_slow_uploads_hold_no_prediction_slots(bundle, tmp_path):
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1, MAX_IN_FLIGHT=1) as running, contextlib.ExitStack() as stack:
        half = len(IMAGE) // 2
        uploads = [stack.enter_context(running.connect(POST % len(IMAGE) + IMAGE[:half])) for _ in range(10)]
        assert running.send(IMAGE).status_code == 200
        for upload in uploads:
            upload.sendall(IMAGE[half:])
            assert answer(upload)[0] == 200


def test_metrics_port_serves_metrics_only_there(bundle, tmp_path):
    port = servers.free_port()
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1, METRICS_PORT=port) as running:
        assert running.predict(IMAGE).status_code == 200
        assert running.get("/metrics").status_code == 404
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        assert 'request_count_total{endpoint="/predict",method="POST",status="200"} 1.0\n' in text
        assert requests.post(f"http://127.0.0.1:{port}/predict", data=IMAGE, timeout=30).status_code == 404


def test_draining_service_closes_connections_with_their_answers(own, tmp_path):
    assert own.get("/ready").status_code == 200
    (tmp_path / "drain").touch()
    with requests.Session() as session:
        for path, status in (("/health", 200), ("/ready", 503), ("/nothing", 404), ("/metrics", 200)):
            response = session.get(own.address + path, timeout=30)
            assert (response.status_code, response.headers["Connection"]) == (status, "close"), path
    assert own.predict(IMAGE).status_code == 200
    (tmp_path / "drain").unlink()
    response = own.get("/ready")
    assert (response.status_code, response.headers["Connection"]) == (200, "keep-alive")


def test_sigterm_finishes_open_requests(own):
    with own.connect(GET) as kept, own.connect(GET[:10]) as head, own.connect(POST % len(IMAGE)) as upload:
        assert answer(kept)[:2] == (200, "keep-alive")
        own.process.terminate()
        own.wait_until(lambda: refused(own))
        head.sendall(GET[10:])
        kept.sendall(GET)
        upload.sendall(IMAGE)
        assert [answer(connection)[:2] for connection in (head, kept)] == [(200, "close")] * 2
        assert answer(upload)[0] == 200
    assert own.process.wait(20) == 0
    assert not own.lines_at("ERROR")


def refused(running):
    try:
        running.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_does_not_wait_for_idle_connections(own):
    with own.connect(), own.connect(GET) as kept:
        assert answer(kept)[0] == 200
        own.process.terminate()
        assert own.process.wait(15) == 0
    assert "SIGKILL" not in own.log.read_text()


def test_services_replaced_under_load_lose_no_request(bundle, tmp_path):
    """Clients notice a replacement a second late, as in a cluster."""
    with contextlib.ExitStack() as stack:

        def start(number):
            folder = tmp_path / str(number)
            folder.mkdir()
            settings = {"WORKERS": 1, "DRAIN_FILE": folder / "drain", "GRACEFUL_TIMEOUT": 20}
            return stack.enter_context(service(folder, MODEL_DIR=bundle, **settings))

        running = [start(0), start(1)]
        clients = Clients(4)
        clients.ports = [one.port for one in running]
        with clients:
            for number in (2, 3):
                running.append(start(number))
                old = running.pop(0)
                (tmp_path / str(number - 2) / "drain").touch()
                time.sleep(1)
                before = clients.answered
                clients.ports = [one.port for one in running]
                old.wait_until(lambda before=before: clients.answered > before + 20)
                old.process.terminate()
                assert old.process.wait(25) == 0
    assert clients.failed == []


def test_counts_of_two_workers_are_exact_and_outlive_one(bundle, tmp_path):
    sent = [images.plain(RED), images.plain(GREEN), b"text"]

    def counts():
        by_status = [running.metric("request_count_total", endpoint="/predict", status=s) for s in ("200", "415")]
        timed = running.metric("flask_http_request_duration_seconds_count", endpoint="/predict")
        return *by_status, timed, *(running.metric("predictions_total", label=label) for label in ("red", "green"))

    with service(tmp_path, MODEL_DIR=bundle) as running, concurrent.futures.ThreadPoolExecutor(4) as pool:
        running.wait_for_workers()
        assert running.metric("model_reference_confidence_share", le="1.0") == 1, "once, not once per worker"
        for round_ in (1, 2):
            list(pool.map(lambda number: running.predict(sent[number % 3]), range(90)))
            answered = {line["process"] for line in running.lines() if line.get("endpoint") == "/predict"}
            assert answered >= set(running.workers()), "this test means nothing if one worker answered all"
            assert counts() == tuple(round_ * count for count in (60, 30, 90, 30, 30))
            killed = running.workers()[0]
            os.kill(killed, signal.SIGKILL)
            running.wait_until(lambda killed=killed: killed not in running.workers())
            running.wait_for_workers()
            assert counts() == tuple(round_ * count for count in (60, 30, 90, 30, 30))
        assert running.metric("predictions_in_flight") == 0
        assert running.metric("model_info", name="colours", version="1") == 1
        assert not [labels for _, labels in running.samples() if "pid" in dict(labels)]


def test_reload_serves_a_good_bundle_and_refuses_a_bad_one(tmp_path):
    folder = bundles.write(tmp_path / "model")
    with service(tmp_path, MODEL_DIR=folder) as running, requests.Session() as kept:
        running.wait_for_workers()
        kept.post(f"{running.address}/predict", data=IMAGE, headers={"Content-Type": "image/jpeg"}, timeout=30)
        bundles.write(folder, classes=["dark", "light"], version="2", reference=None)
        running.reload()
        ready = running.get("/ready").json()
        assert (ready["model"], ready["refused"]) == (
            {"name": "colours", "version": "2", "classes": ["dark", "light"]},
            None,
        )
        assert running.metric("predictions_total", label="red") == 1
        # The worker before may take a moment to end; until then its version has a series of its own.
        running.wait_until(lambda: running.metric("model_held_out_accuracy", name="colours") == 1)
        assert not [name for name, _ in running.samples() if name == "model_reference_prediction_share"]
        (folder / "model.onnx").write_bytes(b"damaged")
        running.reload()
        ready = running.get("/ready").json()
        assert ready["model"]["version"] == "2" and "SHA-256" in ready["refused"]
        assert running.metric("model_refused") == running.metric("model_ready") == 1
        assert running.predict(IMAGE).json()["model"]["version"] == "2"


def test_stopped_service_leaves_nothing_behind(bundle, tmp_path):
    (tmp_path / "tmp").mkdir()
    before = set(Path("/dev/shm").glob("inference-metrics-*"))
    with service(tmp_path, MODEL_DIR=bundle, TMPDIR=tmp_path / "tmp", PROMETHEUS_MULTIPROC_DIR="") as running:
        running.wait_for_workers()
        running.predict(IMAGE)
        made = [folder for folder in Path("/dev/shm").glob("inference-metrics-*") if folder not in before]
        owned = [folder for folder in made if list(folder.glob(f"*_{running.workers()[0]}.db"))]
        assert len(owned) == 1
        running.reload()
        assert running.metric("predictions_total", label="red") == 1
    assert running.process.returncode == 0
    assert not owned[0].exists()
    assert not list((tmp_path / "tmp").iterdir())


def test_given_metrics_folder_is_emptied_of_old_counts_only(bundle, tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    for name in ("counter_1.db", "gauge_livesum_1.db", "mine.txt"):
        (folder / name).write_text("old")
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1, PROMETHEUS_MULTIPROC_DIR=folder) as running:
        running.predict(IMAGE)
        assert running.metric("predictions_total", label="red") == 1
    assert (folder / "mine.txt").read_text() == "old"
    assert not (folder / "counter_1.db").exists()
