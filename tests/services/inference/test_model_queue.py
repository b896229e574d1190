import threading

import gevent
import numpy as np
import pytest

from bundle.signals import Outputs
from services.inference.model_queue import ModelQueue

TIMEOUT = 30


class Model:
    """Answers each image with its own number; its first run waits for ``proceed``."""

    def __init__(self):
        self.runs = []
        self.proceed = threading.Event()

    def decode(self, images):
        if b"broken" in images:
            raise ValueError("broken")
        return np.array([int(image) for image in images], np.uint8)

    def run(self, pixels):
        self.runs.append(pixels.tolist())
        if len(self.runs) == 1:
            assert self.proceed.wait(TIMEOUT)
        if 66 in pixels:
            raise RuntimeError("the model fails")
        rows = pixels.astype(np.float32)[:, None]
        return Outputs(rows, pixels > 100, rows)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def predict(model):
    """Send one request, and the others while it is computed; return their greenlets."""
    queue = ModelQueue(model.decode, model.run, threads=1)

    def predict(*requests):
        greenlets = [gevent.spawn(queue.predict, request) for request in [[b"0"], *requests]]
        gevent.sleep(0)  # until all wait
        model.proceed.set()
        gevent.joinall(greenlets, timeout=TIMEOUT)
        return greenlets

    return predict


def numbers(greenlet):
    rows, uncertain, signals = greenlet.get(block=False)
    assert uncertain.tolist() == [row[0] > 100 for row in rows]
    assert signals.tolist() == rows.tolist()
    return [int(row[0]) for row in rows]


# gevent prints the traceback of a greenlet that ends with an error, here on purpose.
@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(gevent.get_hub(), "NOT_ERROR", (Exception,))


def test_requests_are_computed_one_after_the_other(model, predict):
    greenlets = predict([b"1"], [b"2", b"3"], [b"104"])
    assert [numbers(greenlet) for greenlet in greenlets] == [[0], [1], [2, 3], [104]]
    assert model.runs == [[0], [1], [2, 3], [104]]


def test_broken_image_fails_its_own_request_only(model, predict):
    zero, one, broken, two = predict([b"1"], [b"broken"], [b"2"])
    assert [numbers(greenlet) for greenlet in (zero, one, two)] == [[0], [1], [2]]
    with pytest.raises(ValueError, match="broken"):
        broken.get()
    assert model.runs == [[0], [1], [2]]


def test_model_that_fails_fails_its_own_request_only(predict):
    _, failed, after = predict([b"66"], [b"1"])
    assert isinstance(failed.exception, RuntimeError)
    assert numbers(after) == [1]


def test_model_without_flags_answers_none(model):
    model.proceed.set()
    queue = ModelQueue(model.decode, lambda pixels: model.run(pixels)._replace(uncertain=None), threads=1)
    rows, uncertain, _ = queue.predict([b"7", b"8"])
    assert rows.tolist() == [[7], [8]]
    assert uncertain is None


def test_idle_thread_computes_the_next_request(model):
    queue = ModelQueue(model.decode, model.run, threads=2)
    first = gevent.spawn(queue.predict, [b"1"])
    while not model.runs:
        gevent.sleep(0.01)
    assert queue.predict([b"2"])[0].tolist() == [[2]]
    assert not first.ready()
    model.proceed.set()
    assert first.get(timeout=TIMEOUT)[0].tolist() == [[1]]


def test_background_work_waits_for_all_other_requests(model):
    queue = ModelQueue(model.decode, model.run, threads=1)
    first = gevent.spawn(queue.predict, [b"0"])
    gevent.sleep(0)
    background = gevent.spawn(queue.predict_when_idle, np.array([9], np.uint8))
    gevent.sleep(0)
    others = [gevent.spawn(queue.predict, [b"%d" % number]) for number in range(1, 6)]
    gevent.sleep(0)
    model.proceed.set()
    gevent.joinall([first, background, *others], timeout=TIMEOUT)
    assert model.runs == [[0], [1], [2], [3], [4], [5], [9]]
    assert numbers(background) == [9]


def test_background_work_that_is_given_up_is_not_run(model):
    queue = ModelQueue(model.decode, model.run, threads=1)
    first = gevent.spawn(queue.predict, [b"0"])
    gevent.sleep(0)
    with gevent.Timeout(0.01, False):
        queue.predict_when_idle(np.array([9], np.uint8))
    model.proceed.set()
    first.get(timeout=TIMEOUT)
    assert queue.predict([b"1"])[0].tolist() == [[1]]
    assert model.runs == [[0], [1]]


def test_images_are_decoded_without_a_run(model):
    queue = ModelQueue(model.decode, model.run, threads=1)
    assert queue.decode([b"7"]).tolist() == [7]
    with pytest.raises(ValueError, match="broken"):
        queue.decode([b"broken"])
    assert model.runs == []
