"""The memory limit, against what a stranger can make the service use."""

import io
import re
from pathlib import Path

from PIL import Image

from services.inference import settings as inference
from tests.kustomize import manifests
from tests.services.inference.serving import service

BODIES = 2.2  # copies of an upload that a request holds


def most(pids):
    """The most memory that each of these processes ever had, added up, bytes."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return 1024 * sum(int(re.search(r"VmHWM:\s+(\d+) kB", text).group(1)) for text in status)


def worst(pixels):
    """The picture that takes the most to decode for its pixels, in a few bytes."""
    side = int(pixels**0.5)
    file = io.BytesIO()
    Image.new("RGBA", (side, side), (1, 2, 3, 4)).save(file, "WEBP", lossless=True, method=0)
    return file.getvalue()


def test_the_worst_picture_and_every_place_taken_stay_below_the_limit(minikube, tmp_path):
    workload = manifests.workload(minikube, "mlops-service")
    bounds = {key: value for key, value in workload.env.items() if key.startswith(("MAX_", "WORKERS", "THREADS"))}
    settings = inference.load(bounds)
    resources = workload.container["resources"]
    with service(tmp_path, **bounds) as running:
        running.wait_for_workers(settings.workers)
        pids = [running.process.pid, *running.workers()]
        idle = most(pids)
        assert running.send(worst(settings.max_pixels), "image/webp").status_code == 200
        peak = most(pids)
    assert peak - idle > 5 * settings.max_pixels  # or this is not the worst any more
    bodies = BODIES * settings.max_in_flight * settings.max_upload_bytes * settings.workers
    assert peak + bodies < manifests.amount(resources["limits"]["memory"])
    assert idle < manifests.amount(resources["requests"]["memory"])
