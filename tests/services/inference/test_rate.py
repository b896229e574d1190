"""How often one client may ask: one budget in all workers, and who counts as one client."""

import concurrent.futures
import ipaddress
import multiprocessing
import os
import signal
import time

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from services.inference import rate
from services.inference.auth import address
from tests import drawn_images as pictures
from tests.services.inference.serving import service
from tests.services.inference.test_auth import OLD, OTHER, bearer
from tests.services.inference.test_problems import answer, assert_problem, connect

RED_PICTURE = pictures.plain()


def test_two_workers_share_one_budget_which_is_exact(bundle, tmp_path):
    with service(tmp_path, MODEL_DIR=bundle, RATE_LIMIT="20/day") as running:
        running.wait_for_workers()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: running.predict(RED_PICTURE).status_code, range(60)))
        assert (statuses.count(200), statuses.count(429)) == (20, 40)
        answered = {line["process"] for line in running.lines() if line.get("status") == 200}
        assert answered == set(running.workers()), "both workers must have had a share"
        refused = running.predict(RED_PICTURE)
        assert_problem(refused, 429, "20/day")
        assert 0 < int(refused.headers["Retry-After"]) <= 86400 / 20
        with connect(running, 10**6) as connection:
            assert answer(connection)[0] == 429, "before the body is read"
        assert running.get("/ready").status_code == running.get("/metrics").status_code == 200
        assert "429" in running.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]
        running.process.send_signal(signal.SIGHUP)
        old = answered
        while old & set(running.workers()):
            time.sleep(0.05)
        running.wait_for_workers()
        assert running.predict(RED_PICTURE).status_code == 429, "a reload is no new budget"


def test_each_owner_of_a_key_has_a_budget(bundle, tmp_path):
    (tmp_path / "keys").write_text(f"shop:{OLD}\nmonitor:{OTHER}\n")
    with service(tmp_path, MODEL_DIR=bundle, RATE_LIMIT="2/day", API_KEYS_FILE=tmp_path / "keys") as running:
        for key in (OLD, OTHER):
            assert [running.predict(RED_PICTURE, **bearer(key)).status_code for _ in range(3)] == [200, 200, 429]
        assert running.predict(RED_PICTURE, **bearer("no-such-key-is-known")).status_code == 401


@pytest.fixture
def table():
    table = rate.Table()
    yield table
    os.close(table._file)


def test_a_budget_fills_again_evenly(monkeypatch, table):
    now = 1000.0
    monkeypatch.setattr(rate.time, "monotonic", lambda: now)
    limit = rate.parse("3/minute")
    assert [table.take("a", limit) for _ in range(4)] == [0, 0, 0, pytest.approx(20)]
    assert table.take("b", limit) == 0
    now += 19.9
    assert table.take("a", limit) == pytest.approx(0.1)
    now += 0.2
    assert (table.take("a", limit), table.take("a", limit) > 19) == (0, True)
    now += 3600
    assert [table.take("a", limit) for _ in range(4)] == [0, 0, 0, pytest.approx(20)]


def test_a_process_that_dies_while_it_counts_stops_nobody(table):
    limit = rate.parse("3/minute")
    context = multiprocessing.get_context("fork")
    holding = context.Event()

    def hold():
        with table._locked():
            holding.set()
            time.sleep(60)

    process = context.Process(target=hold)
    process.start()
    assert holding.wait(10)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert table.take("a", limit) == 0


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("203.0.113.5", "", "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:203.0.113.5", "", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
    ],
)
def test_the_client_is_who_no_trusted_proxy_is(remote, forwarded, client):
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    environ = EnvironBuilder(headers=headers, environ_base={"REMOTE_ADDR": remote}).get_environ()
    assert address(Request(environ), (ipaddress.ip_network("10.0.0.0/8"),)) == client
