"""Predict every image below a folder in several processes."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from bundle.answer import to_answer
from bundle.load import Bundle
from bundle.predictor import Predictor
from ml.batch.csv_file import CsvFile, WrittenPaths, encode, text
from ml.data.files import UnusableError, load, walk
from ml.errors import UserError

BATCH = 16
# Batches queued or in work per process; a kill loses no more rows than theirs.
AHEAD = 3

Item = tuple[Path, str | None]  # a file, or a folder with the reason why it cannot be read
Rows = tuple[bytes, int, int]  # encoded rows, number of rows, number of errors

predictor: Predictor  # of a worker process


def predict_folder(folder: Path, csv_file: CsvFile, bundle: Bundle, processes: int, progress: bool = True) -> None:
    """Append a row for every file below a folder that has none yet.

    Rows are in the order of ``ml.data.files.walk``, so a resumed run leaves the same bytes as an uninterrupted one.

    Args:
        folder: Searched with all folders in it; hidden files are ignored.
        csv_file: The output.
        bundle: The model.
        processes: Number of worker processes.
        progress: Show a progress bar on standard error.

    Raises:
        UserError: The CSV file cannot be written, or a worker was killed.
    """
    total = sum(1 for _ in walk(folder)) if progress else None
    with (
        _workers(bundle, processes) as pool,
        tqdm(total=total, desc="scoring", unit=" files", disable=not progress) as bar,
    ):
        waiting: deque[tuple[list[Item], Future[Rows]]] = deque()

        def write() -> None:
            batch, future = waiting.popleft()
            try:
                rows = future.result()
            except BrokenProcessPool as error:
                raise UserError(
                    f"A worker process was killed, at {text(batch[0][0])} or soon after; perhaps memory ran out. Run "
                    "the same command with a smaller --processes to resume after the last row."
                ) from error
            csv_file.append(*rows)
            bar.update(len(batch))

        remaining = _remaining(folder, csv_file, bar.update)
        while batch := list(itertools.islice(remaining, BATCH)):
            waiting.append((batch, pool.submit(_predict, batch)))
            if len(waiting) == AHEAD * processes:
                write()
        while waiting:
            write()


def _remaining(folder: Path, csv_file: CsvFile, skipped: Callable[[], object]) -> Iterator[Item]:
    """Yield the files without a row in the order of the walk, and call ``skipped`` for every other file."""
    written, out = WrittenPaths(csv_file.path), csv_file.path.resolve()
    for path, error in walk(folder):
        if text(path) in written or (path.name == out.name and path.resolve() == out):
            skipped()
        else:
            yield path, error


@contextlib.contextmanager
def _workers(bundle: Bundle, count: int) -> Iterator[ProcessPoolExecutor]:
    # Not forked: a worker that outlives this process would keep the lock on the CSV file.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start_worker, (bundle,))
    try:
        # A terminal sends Ctrl-C to every process; workers started like this ignore it, and this process ends them.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for _ in range(count):
            pool.submit(int)
        signal.signal(signal.SIGINT, handler)
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise


def _start_worker(bundle: Bundle) -> None:
    global predictor
    threading.Thread(target=_end_with_parent, daemon=True).start()
    predictor = Predictor(bundle)


def _end_with_parent() -> None:
    """Exit when the parent ends: a killed parent cannot end its workers, which would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _predict(batch: list[Item]) -> Rows:
    rows = [_row(path, error) for path, error in batch]
    return encode(rows), len(rows), sum(bool(row[-3]) for row in rows)


def _row(path: Path, error: str | None) -> list[object]:
    manifest = predictor.manifest
    model = [manifest.name, manifest.version]
    try:
        if error:
            raise UnusableError("unreadable", error)
        _, pixels = load(path, manifest.input.size, manifest.input.resize)
        # One at a time: a batch sums in another order, so rows would depend on where a batch begins.
        probabilities, uncertain = predictor.answer(pixels[None])
    except Exception as failure:
        # One bad file must not stop this run and every resumed one.
        reason = str(failure) if isinstance(failure, UnusableError) else f"not scored: {failure}"
        return [text(path), *[""] * (len(manifest.classes) + 3), reason, *model]
    answer = to_answer(manifest.classes, probabilities[0])
    confidence, *numbers = (f"{p:.6f}" for p in (answer["confidence"], *answer["probabilities"].values()))
    flag = "" if uncertain is None else str(bool(uncertain[0])).lower()
    return [text(path), answer["label"], confidence, flag, *numbers, "", *model]
