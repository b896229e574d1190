"""Another bundle is put in place while the service runs, and the master gets SIGHUP."""

import os
import shutil
import signal
import time

import pytest
import requests

from tests import bundles
from tests import drawn_images as pictures
from tests.faults.spoiling import WAYS
from tests.services.inference.serving import service
from tests.services.inference.clients import Clients

pytestmark = pytest.mark.faults


def reload(running):
    """Have the bundle read again; until no worker of before is left, and the new ones serve."""
    before = set(running.workers())
    running.process.send_signal(signal.SIGHUP)
    until(lambda: not before & set(running.workers()), running)
    running.wait_for_workers()


def until(true, running):
    deadline = time.monotonic() + 40
    while not true():
        assert time.monotonic() < deadline, running.log.read_text()
        time.sleep(0.1)


def by_rename(folder, new):
    folder.rename(folder.with_name("old"))
    new.rename(folder)


def by_link(folder, new):
    link = folder.with_name("link")
    link.symlink_to(new)
    link.replace(folder)


def by_copy(folder, new):
    shutil.copytree(new, folder, dirs_exist_ok=True)


@pytest.mark.parametrize("replace", [by_rename, by_link, by_copy])
def test_a_new_bundle_is_served_without_a_lost_request(tmp_path, replace):
    folder, new = tmp_path / "model", bundles.write(tmp_path / "new", version="2", classes=["dark", "light"])
    if replace is by_link:
        folder.symlink_to(bundles.write(tmp_path / "old"))
    else:
        bundles.write(folder)
    with service(tmp_path, MODEL_DIR=folder, GRACEFUL_TIMEOUT=20) as running, requests.Session() as kept:
        running.wait_for_workers()
        assert kept.get(f"{running.address}/ready", timeout=30).json()["model"]["version"] == "1"
        clients = Clients(4)
        clients.ports = [running.port]
        with clients:
            replace(folder, new)
            reload(running)
            before = clients.answered
            until(lambda: clients.answered > before + 100, running)
        assert clients.failed == []
        ready = kept.get(f"{running.address}/ready", timeout=30).json()
        assert ready["model"] == {"name": "colours", "version": "2", "classes": ["dark", "light"]}
        assert ready["refused"] is None
        assert running.predict(pictures.plain()).json()["model"]["version"] == "2"
        assert running.metric("request_count_total", endpoint="/predict", status="200") == clients.answered + 1
        assert not running.lines_at("ERROR", "WARNING")


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_bundle_is_refused_and_the_old_one_goes_on(bundle, tmp_path, way):
    spoil, words = WAYS[way]
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1, GRACEFUL_TIMEOUT=20) as running:
        running.wait_for_workers(1)
        clients = Clients(2)
        clients.ports = [running.port]
        with clients:
            spoil(bundle)
            before = set(running.workers())
            running.process.send_signal(signal.SIGHUP)
            until(lambda: not before & set(running.workers()), running)
            running.wait_for_workers(1)
        assert clients.failed == [] and clients.answered
        still_the_old_one(running, words)
        (worker,) = running.workers()
        os.kill(worker, signal.SIGKILL)
        until(lambda: running.workers() not in ([], [worker]), running)
        running.wait_for_workers(1)
        still_the_old_one(running, words)


def still_the_old_one(running, words):
    ready = running.get("/ready")
    assert ready.status_code == 200 and ready.json()["model"]["version"] == "1"
    assert words in ready.json()["refused"] and "\n" not in ready.json()["refused"]
    assert running.predict(pictures.plain()).json()["label"] == "red"
    assert (running.metric("model_refused"), running.metric("model_ready")) == (1, 1)
    (said,) = [line["message"] for line in running.lines_at("ERROR") if "refused" in line["message"]]
    assert "colours 1 stays" in said and words in said


def test_a_copy_that_was_half_there_is_picked_up_when_it_is_whole(bundle, tmp_path):
    new = bundles.write(tmp_path / "new", version="2", classes=["dark", "light"])
    with service(tmp_path, MODEL_DIR=bundle) as running:
        running.wait_for_workers()
        shutil.copy(new / "model.onnx", bundle)
        reload(running)
        assert "do not belong together" in running.get("/ready").json()["refused"]
        shutil.copy(new / "manifest.json", bundle)
        reload(running)
        ready = running.get("/ready").json()
        assert (ready["model"]["version"], ready["refused"]) == ("2", None)
        assert running.metric("model_refused") == 0


def test_a_worker_that_starts_later_does_not_take_what_nobody_asked_to_load(bundle, tmp_path):
    with service(tmp_path, MODEL_DIR=bundle) as running:
        running.wait_for_workers()
        bundles.write(bundle, version="2")
        killed = running.workers()[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in running.workers() and len(running.workers()) == 2, running)
        running.wait_for_workers()
        assert {running.predict(pictures.plain()).json()["model"]["version"] for _ in range(20)} == {"1"}


def test_a_service_that_began_without_a_model_takes_the_first_good_one(tmp_path):
    folder = tmp_path / "model"
    with service(tmp_path, MODEL_DIR=folder) as running:
        assert running.get("/ready").status_code == 503
        bundles.write(folder)
        reload(running)
        assert running.get("/ready").json()["model"]["version"] == "1"


def test_without_a_good_one_the_newest_reason_is_told(bundle, tmp_path):
    WAYS["not ONNX"][0](bundle)
    with service(tmp_path, MODEL_DIR=bundle) as running:
        assert "not an ONNX graph" in running.get("/ready").json()["detail"]
        before = set(running.workers())
        WAYS["manifest not JSON"][0](bundle)
        running.process.send_signal(signal.SIGHUP)
        until(lambda: len(running.workers()) == 2 and not before & set(running.workers()), running)
        until(lambda: "is not JSON" in running.get("/ready").json()["detail"], running)
        assert running.predict(pictures.plain()).status_code == 503
