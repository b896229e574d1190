"""Requests that come while another is computed are computed together, and each gets its own answer."""

import concurrent.futures
import contextlib
import gc
import threading
import weakref

import numpy as np
import pytest

from services.inference.batching import MOST_PICTURES, Batcher
from tests import drawn_images as pictures

PATIENCE = 30


class Model:
    """Answers each picture with its own number; its first run waits until it is told to go on."""

    def __init__(self):
        self.runs = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def decode(self, pictures):
        if b"broken" in pictures:
            raise ValueError("broken")
        return np.array([int(picture) for picture in pictures], np.uint8)

    def run(self, pixels):
        self.runs.append(pixels.tolist())
        if len(self.runs) == 1:
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
        if 66 in pixels:
            raise RuntimeError("the model fails")
        return pixels.astype(np.float32)[:, None], pixels > 100


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def ask(model, processors):
    """Ask with one request that is being computed while the others come, one after the other; give all futures."""
    batcher = Batcher(model.decode, model.run, processors(1))

    def ask(*requests):
        with concurrent.futures.ThreadPoolExecutor(len(requests) + 1) as pool:
            first = pool.submit(batcher.answer, [b"0"])
            assert model.begun.wait(PATIENCE)
            others = []
            for number, request in enumerate(requests, 1):
                others.append(pool.submit(batcher.answer, request))
                while len(batcher._waiting) < number:
                    assert not others[-1].done()
            model.go_on.set()
        return [first, *others]

    return ask


def numbers(future):
    rows, uncertain = future.result()
    assert uncertain.tolist() == [row[0] > 100 for row in rows]
    return [int(row[0]) for row in rows]


def test_those_who_wait_are_computed_together_in_their_order(model, ask):
    futures = ask(*([b"%d" % number] for number in range(1, 11)))
    assert [numbers(future) for future in futures] == [[number] for number in range(11)]
    assert model.runs == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_several_pictures_of_one_request_stay_together(model, ask):
    many = [b"%d" % number for number in range(101, 101 + 2 * MOST_PICTURES)]
    futures = ask([b"1"], [b"2", b"3"], [b"4", b"5"], many, [b"6"])
    assert [numbers(future) for future in futures] == [[0], [1], [2, 3], [4, 5], list(map(int, many)), [6]]
    assert model.runs == [[0], [1, 2, 3], [4, 5], list(map(int, many)), [6]]


def test_a_broken_picture_is_its_senders_own(model, ask):
    zero, one, broken, two = ask([b"1"], [b"broken"], [b"2"])
    assert [numbers(future) for future in (zero, one, two)] == [[0], [1], [2]]
    with pytest.raises(ValueError, match="broken"):
        broken.result()
    assert model.runs == [[0], [1, 2]]


def test_where_all_are_broken_nothing_is_run(model, ask):
    _, *broken = ask([b"broken"], [b"broken"])
    assert all(isinstance(future.exception(), ValueError) for future in broken)
    assert model.runs == [[0]]


def test_a_run_that_fails_is_told_to_all_of_it_and_the_next_goes_on(ask):
    _, *failed, after = ask([b"66"], [b"1"], [b"2"], [b"3"], [b"4"])
    assert all(isinstance(future.exception(), RuntimeError) for future in failed)
    assert numbers(after) == [4]


def test_a_model_that_does_not_say_whether_it_is_sure(model, processors):
    model.go_on.set()
    batcher = Batcher(model.decode, lambda pixels: (model.run(pixels)[0], None), processors(1))
    rows, uncertain = batcher.answer([b"7", b"8"])
    assert rows.tolist() == [[7], [8]]
    assert uncertain is None


class Watched(str):
    """Can be referred to weakly, which bytes cannot."""


@pytest.mark.parametrize("content", ["7", "broken"])
def test_a_picture_does_not_stay_for_the_garbage_collector(model, processors, content):
    model.go_on.set()
    batcher = Batcher(model.decode, model.run, processors(1))
    picture = Watched(content)
    left = weakref.ref(picture)
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            batcher.answer([picture])
        del picture
        assert left() is None
    finally:
        gc.enable()


def test_an_idle_processor_computes_for_those_who_would_wait(model, processors):
    processors = processors(2)
    batcher = Batcher(model.decode, model.run, processors)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.answer, [b"1"])
        assert model.begun.wait(PATIENCE)
        second = pool.submit(batcher.answer, [b"2"])
        assert numbers(second) == [2]
        assert not first.done()
        model.go_on.set()
        assert numbers(first) == [1]
    assert {processors.take(), processors.take()} == {0, 1}


def test_a_worker_computes_even_if_others_have_all_processors(model, processors):
    model.go_on.set()
    batcher = Batcher(model.decode, model.run, processors(0))
    rows, _ = batcher.answer([b"3"])
    assert rows.tolist() == [[3]]
    rows, _ = batcher.answer([b"4"])
    assert rows.tolist() == [[4]]


def test_many_at_once_over_http_get_their_own_answers(shared):
    colours = {"red": pictures.RED, "green": pictures.GREEN, "blue": pictures.BLUE}
    asked = list(colours) * 40
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda name: shared.predict(pictures.plain(colours[name])), asked))
    assert [answer.json()["label"] for answer in answers] == asked
