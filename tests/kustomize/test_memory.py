"""The memory limit, against the most that uploads can make the service use."""

import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from PIL import Image

from bundle.load import CHAMPION
from tests.kustomize import manifests
from tests.services.inference.serving import service as serving

UPLOADS = 24  # at the same time, more than MAX_IN_FLIGHT
WORST = 4  # the others are only large, which is enough while they wait for the CPU


def peak_memory(pids):
    """Return the sum of the processes' peak memory, in bytes."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return 1024 * sum(int(re.search(r"VmHWM:\s+(\d+) kB", text).group(1)) for text in status)


def upload(side, size):
    """Return a form with an image in the format that needs the most memory per pixel, padded to ``size`` bytes."""
    file = io.BytesIO()
    Image.new("RGBA", (side, side), (1, 2, 3, 4)).save(file, "WEBP", lossless=True, method=0)
    return requests.Request("POST", "http://pod", files={"file": file.getvalue().ljust(size - 1000, b"\0")}).prepare()


@pytest.fixture
def one_cpu():
    """Give this thread and its children one CPU, as the container has: the service decodes one image per CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_cpu")
def test_worst_uploads_in_all_places_stay_below_the_memory_limit(service, tmp_path):
    env = service.env_in(tmp_path) | {"MODEL_DIR": str(CHAMPION)}
    pixels, size = int(env["MAX_PIXELS"]), int(env["MAX_UPLOAD_BYTES"])
    uploads = [upload(int(pixels**0.5), size)] * WORST + [upload(64, size)] * (UPLOADS - WORST)
    with serving(tmp_path, **env) as running, ThreadPoolExecutor(UPLOADS) as pool:
        running.wait_for_workers(int(env["WORKERS"]))
        pids = [running.process.pid, *running.workers()]
        idle = peak_memory(pids)

        def send(form):
            return requests.post(f"{running.address}/predict", form.body, headers=form.headers, timeout=240).status_code

        statuses = set(pool.map(send, uploads))
        peak = peak_memory(pids)
    assert 200 in statuses and statuses <= {200, 503}
    assert peak - idle > 5 * pixels, "another format is the worst now"
    in_memory = [volume for volume in manifests.values(service.spec, "emptyDir") if volume.get("medium") == "Memory"]
    files = sum(manifests.amount(volume["sizeLimit"]) for volume in in_memory)
    resources = service.container["resources"]
    assert files > 0 and peak + files < manifests.amount(resources["limits"]["memory"])
    assert idle < manifests.amount(resources["requests"]["memory"])
