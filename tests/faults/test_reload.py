"""Other bundles are put in place, and the master gets SIGHUP: good ones are served, bad ones are refused."""

import os
import shutil
import signal

import pytest

from bundle import check
from tests import bundles, drawn_images
from tests.faults.bad_bundles import BAD
from tests.faults.clients import answered, clients, failures, wait_until
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults


def reload(running):
    """Have the bundle read again, and wait until new workers have replaced all old ones."""
    replace_workers(running, lambda: running.process.send_signal(signal.SIGHUP))


def kill_worker(running):
    replace_workers(running, lambda: os.kill(running.workers()[0], signal.SIGKILL), 1)


def replace_workers(running, cause, count=None):
    before = set(running.workers())
    cause()

    def replaced():
        ready = {
            line["process"] for line in running.lines() if line["message"].startswith(("model loaded", "no model"))
        }
        now = set(running.workers())
        return len(now) == len(before) and now <= ready and len(before - now) == (count or len(before))

    wait_until(replaced, running)


def by_link(folder, new):
    link = folder.with_name("link")
    link.symlink_to(new)
    link.replace(folder)


def by_copy(folder, new):
    shutil.copytree(new, folder, dirs_exist_ok=True)


def by_rename(folder, new):
    folder.rename(folder.with_name("before"))
    new.rename(folder)


def test_new_bundles_are_served_without_a_lost_request(tmp_path):
    folder = tmp_path / "model"
    folder.symlink_to(bundles.write(tmp_path / "1"))
    with service(tmp_path, MODEL_DIR=folder, GRACEFUL_TIMEOUT=20) as running:
        running.wait_for_workers()
        with clients(4, [running.port]) as asking:
            for version, replace in (("2", by_link), ("3", by_copy), ("4", by_rename)):
                replace(folder, bundles.write(tmp_path / version, version=version, classes=["dark", version]))
                reload(running)
                ready = running.get("/ready").json()
                assert ready["model"] == {"name": "colours", "version": version, "classes": ["dark", version]}
                assert ready["refused"] is None
                before = answered(asking)
                wait_until(lambda before=before: answered(asking) > before + 50, running)
        assert failures(asking) == []
        assert running.predict(drawn_images.plain()).json()["model"]["version"] == "4"
        assert running.metric("request_count_total", endpoint="/predict", status="200") == answered(asking) + 1
        bundles.write(folder, version="5")
        kill_worker(running)
        versions = {running.predict(drawn_images.plain()).json()["model"]["version"] for _ in range(20)}
        assert versions == {"4"}, "a worker that starts later serves another bundle than its neighbour"
        assert not running.lines_at("WARNING")


def test_bad_bundles_are_refused_and_the_old_one_goes_on(bundle, tmp_path):
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1, GRACEFUL_TIMEOUT=20) as running:
        running.wait_for_workers(1)
        with clients(2, [running.port]) as asking:
            for damage, words in BAD.values():
                bundles.write(bundle)
                damage(bundle)
                reload(running)
                expect_refusal(running, words)
        assert failures(asking) == []
        kill_worker(running)
        expect_refusal(running, words)
        bundles.write(bundle, version="2")
        reload(running)
        ready = running.get("/ready").json()
        assert (ready["model"]["version"], ready["refused"]) == ("2", None)
        # The worker before may take a moment to end.
        running.wait_until(lambda: running.metric("model_refused") == 0)


def expect_refusal(running, words):
    ready = running.get("/ready")
    assert ready.status_code == 200 and ready.json()["model"]["version"] == "1"
    assert words in ready.json()["refused"] and "\n" not in ready.json()["refused"]
    assert running.predict(drawn_images.plain()).json()["label"] == "red"
    assert (running.metric("model_refused"), running.metric("model_ready")) == (1, 1)
    refusals = [line["message"] for line in running.lines_at("ERROR") if "is refused" in line["message"]]
    assert words in refusals[-1]


def test_bad_bundles_without_a_good_one_are_never_served(tmp_path, capsys):
    folder = tmp_path / "model"
    with service(tmp_path, MODEL_DIR=folder, WORKERS=1) as running:
        for damage, words in BAD.values():
            damage(bundles.write(folder))
            reload(running)
            assert check.main([str(folder)]) == 1
            out, sentence = capsys.readouterr()
            assert not out and words in sentence and sentence.count("\n") == 1
            expect_no_model(running, sentence.strip())
        bundles.write(folder)
        reload(running)
        assert running.predict(drawn_images.plain()).json()["label"] == "red"
        assert check.main([str(folder)]) == 0
        assert "Traceback" not in running.log.read_text()


def expect_no_model(running, sentence):
    for answer in (running.get("/ready"), running.predict(drawn_images.plain())):
        assert answer.status_code == 503
        assert answer.json()["detail"] == sentence
    assert running.get("/health").status_code == 200
    assert (running.metric("model_ready"), running.metric("predictions_in_flight")) == (0, 0)
