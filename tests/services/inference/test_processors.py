"""Two processes never hold the same processor, and one that dies leaves its own to others."""

import multiprocessing

from services.inference.processors import shared

PATIENCE = 30


def hold(processors, connection):
    connection.send(processors.take())
    connection.recv()


def test_each_is_taken_once_and_again_when_given_back(processors):
    processors = processors(2)
    first, second = processors.take(), processors.take()
    assert sorted((first, second)) == [0, 1]
    assert processors.take() is None
    processors.give_back(first)
    assert processors.take() == first


def test_processes_share_them_and_one_that_is_killed_leaves_its_own(processors):
    processors = processors(2)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    other = context.Process(target=hold, args=(processors, there), daemon=True)
    other.start()
    assert here.poll(PATIENCE)
    theirs = here.recv()
    ours = processors.take()
    assert sorted((ours, theirs)) == [0, 1]
    assert processors.take() is None
    other.kill()
    other.join(PATIENCE)
    assert processors.take() == theirs


def test_a_process_has_one_set():
    assert shared() is shared()
