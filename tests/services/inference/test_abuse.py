"""Random and mutated uploads: the service still answers, and its memory does not grow."""

import concurrent.futures
import random
import subprocess

import requests

from tests import drawn_images as images
from tests.services.inference.serving import service

UPLOADS = 2000
WARM_UP = 400  # until everything is allocated that stays: pools, plugins, buffers
CONNECTIONS = 4
SEEDS = [make() for kind in (images.ACCEPTED, images.BROKEN, images.NOT_PICTURES) for make in kind.values()]


def mutated(random_):
    """Return an upload that may be anything, as a body and its media type."""
    data = bytearray(random_.choice(SEEDS))
    match random_.randrange(5):
        case 0:
            data = bytearray(random_.randbytes(random_.randrange(3000)))
        case 1:
            del data[random_.randrange(len(data) + 1) :]
        case 2:
            other, cut = random_.choice(SEEDS), random_.randrange(len(data) + 1)
            data[cut:] = other[cut:]
        case _:
            for _ in range(random_.randrange(1, 20) if data else 0):
                data[random_.randrange(min(len(data), 400))] = random_.randrange(256)
    if random_.random() < 0.5:
        return bytes(data), "image/jpeg"
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n--x--\r\n"
    if random_.random() < 0.2:
        form = bytearray(form)
        form[random_.randrange(70)] = random_.randrange(256)
    return bytes(form), "multipart/form-data; boundary=x"


def send(running, seed, count):
    """Send uploads over one connection; return the statuses."""
    random_ = random.Random(seed)
    statuses = set()
    with requests.Session() as session:
        for _ in range(count):
            body, kind = mutated(random_)
            url = f"{running.address}/predict"
            statuses.add(session.post(url, data=body, headers={"Content-Type": kind}, timeout=30).status_code)
    return statuses


def memory(running):
    """Return the resident kilobytes of all workers."""
    pids = ",".join(map(str, running.workers()))
    text = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, text=True, check=True).stdout
    return sum(map(int, text.split()))


def test_hostile_uploads_neither_break_nor_grow_the_service(bundle, tmp_path):
    with service(tmp_path, MODEL_DIR=bundle, MAX_PIXELS=4_000_000) as running:
        running.wait_for_workers()
        workers = running.workers()

        def storm(count, seed):
            with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
                share = count // CONNECTIONS
                return set().union(*pool.map(lambda n: send(running, seed + n, share), range(CONNECTIONS)))

        statuses = storm(WARM_UP, 0)
        before = memory(running)
        statuses |= storm(UPLOADS, 100)
        after = memory(running)
        assert {200, 400, 415, 422} <= statuses <= {200, 400, 413, 415, 422}
        assert running.workers() == workers, "a worker died"
        assert after < 1.15 * before, f"{before} kB grew to {after} kB"
        assert running.metric("request_count_total", endpoint="/predict") == WARM_UP + UPLOADS
        assert running.predict(images.plain()).json()["label"] == "red"
        assert running.metric("predictions_in_flight") == 0
        assert not running.lines_at("WARNING", "ERROR")
