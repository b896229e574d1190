"""A bundle that went bad: never a prediction from it, and one sentence that says what is wrong."""

import os
import subprocess
import sys

import pytest

from tests import bundles, servers
from tests import drawn_images as pictures
from tests.faults.spoiling import WAYS
from tests.services.inference.serving import service

pytestmark = pytest.mark.faults


def check(folder):
    command = [sys.executable, "-m", "services.inference.check", str(folder)]
    return subprocess.run(command, cwd=servers.ROOT, env=os.environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_bundle_is_not_served_and_the_check_fails_with_the_same_sentence(bundle, tmp_path, way):
    spoil, words = WAYS[way]
    spoil(bundle)
    checked = check(bundle)
    assert (checked.returncode, checked.stdout) == (1, "")
    assert words in checked.stderr and checked.stderr.count("\n") == 1
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as running:
        for answer in (running.get("/ready"), running.predict(pictures.plain())):
            assert answer.status_code == 503
            assert answer.json()["detail"] == checked.stderr.strip()
        assert running.get("/health").status_code == 200
        assert running.metric("model_ready") == 0
        assert running.metric("predictions_in_flight") == 0
        assert "Traceback" not in running.log.read_text()


def test_a_bundle_that_can_be_served_passes_the_check(tmp_path):
    checked = check(bundles.write(tmp_path / "good", name="pets", version="7"))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith("can be served: pets 7\n")
