"""The command that asks a bundle about every picture below a folder: ``python -m ml.score FOLDER --out scores.csv``."""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from joblib import cpu_count
from tqdm import tqdm

from bundle import load as bundle_folder
from bundle.answer import to_answer
from bundle.load import CHAMPION, Bundle, BundleError
from bundle.predictor import Predictor
from ml.batch.csv_file import Done, Scores, encode, text
from ml.data.files import UnusableError, load, walk
from ml.errors import UserError

BATCH = 16
# So many batches for each process wait or are worked on; the rows of no more are lost when the run is killed.
AHEAD = 3

Item = tuple[Path, str | None]  # a file, or a folder with why it cannot be read
Scored = tuple[bytes, int, int]  # rows as they are written, how many they are, how many of them are errors

predictor: Predictor  # of a process that scores


def score(folder: Path, scores: Scores, bundle: Bundle, processes: int, progress: bool = True) -> None:
    """Write a row for every file below a folder that has none yet.

    The rows come in the order of ``ml.data.files.walk``, so that a run that was ended and gone on with leaves the same
    bytes as one that was not.

    Args:
        folder: Searched with all folders in it; hidden files are passed over.
        scores: Where the rows go.
        bundle: The model.
        processes: How many score at once.
        progress: Show a progress bar on standard error.

    Raises:
        UserError: The file of scores cannot be written, or a process was killed.
    """
    total = sum(1 for _ in walk(folder)) if progress else None
    with (
        _processes(bundle, processes) as pool,
        tqdm(total=total, desc="scoring", unit=" files", disable=not progress) as bar,
    ):
        waiting: deque[tuple[list[Item], Future[Scored]]] = deque()

        def write() -> None:
            batch, future = waiting.popleft()
            try:
                scored = future.result()
            except BrokenProcessPool as error:
                raise UserError(
                    f"A process that scores was killed, at {text(batch[0][0])} or soon after; perhaps the memory was "
                    "full. Run the same again, with a smaller --processes: it goes on after the last row."
                ) from error
            scores.append(*scored)
            bar.update(len(batch))

        left = _left(folder, scores, bar.update)
        while batch := list(itertools.islice(left, BATCH)):
            waiting.append((batch, pool.submit(_score, batch)))
            if len(waiting) == AHEAD * processes:
                write()
        while waiting:
            write()


def _left(folder: Path, scores: Scores, passed: Callable[[], object]) -> Iterator[Item]:
    """What has no row yet, in the order of the walk; ``passed`` is called for each that has."""
    done, out = Done(scores.path), scores.path.resolve()
    for path, error in walk(folder):
        if text(path) in done or (path.name == out.name and path.resolve() == out):
            passed()
        else:
            yield path, error


@contextlib.contextmanager
def _processes(bundle: Bundle, count: int) -> Iterator[ProcessPoolExecutor]:
    # Not forked: the lock on the file of scores would live on in a process that outlives this one.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin, (bundle,))
    try:
        # Ctrl-C goes to all processes of a terminal; started like this, they leave the answer to this one.
        answer = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for _ in range(count):
            pool.submit(int)
        signal.signal(signal.SIGINT, answer)
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise


def _begin(bundle: Bundle) -> None:
    global predictor
    threading.Thread(target=_end_with_parent, daemon=True).start()
    predictor = Predictor(bundle)


def _end_with_parent() -> None:
    """Killed, it cannot tell its processes to end, and they would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _score(batch: list[Item]) -> Scored:
    rows = [_row(path, error) for path, error in batch]
    return encode(rows), len(rows), sum(bool(row[-3]) for row in rows)


def _row(path: Path, error: str | None) -> list[object]:
    manifest = predictor.manifest
    model = [manifest.name, manifest.version]
    try:
        if error:
            raise UnusableError("unreadable", error)
        _, pixels = load(path, manifest.input.size, manifest.input.resize)
        # One at a time: sums in another order round otherwise, and where a batch begins would show in the rows.
        probabilities, uncertain = predictor.answer(pixels[None])
    except Exception as failure:
        # What stopped a run would stop it again each time it is gone on with.
        reason = str(failure) if isinstance(failure, UnusableError) else f"not scored: {failure}"
        return [text(path), *[""] * (len(manifest.classes) + 3), reason, *model]
    answer = to_answer(manifest.classes, probabilities[0])
    confidence, *numbers = (f"{p:.6f}" for p in (answer["confidence"], *answer["probabilities"].values()))
    flag = "" if uncertain is None else str(bool(uncertain[0])).lower()
    return [text(path), answer["label"], confidence, flag, *numbers, "", *model]


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify every picture below a folder as the service would, or go on with that where a run has ended."""
    options = _parser().parse_args(arguments)
    try:
        if not options.folder.is_dir():
            raise UserError(f"There is no folder {options.folder}: give one that holds pictures.")
        bundle = bundle_folder.load(options.model)
        Predictor(bundle)
        with Scores(options.out, bundle.manifest, options.overwrite) as scores:
            score(options.folder, scores, bundle, options.processes)
    except (UserError, BundleError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped. The same command goes on after the last row of {options.out}.", file=sys.stderr)
        return 130
    print(f"{options.out}: {scores.rows:,} rows, {scores.errors:,} of them files that could not be scored")
    return int(scores.errors > 0)


def _parser() -> argparse.ArgumentParser:
    codes = "Exit code: 0 all were scored, 1 some files could not be (see the column error), 2 given up, 130 Ctrl-C."
    parser = argparse.ArgumentParser(prog="python -m ml.score", description=main.__doc__, epilog=codes)
    add = parser.add_argument
    add("folder", type=Path, help="searched with all folders in it")
    add("--out", type=Path, default=Path("scores.csv"), metavar="CSV", help="a row for each file [%(default)s]")
    add("--overwrite", action="store_true", help="begin anew instead of going on with the file")
    add("--model", type=Path, default=CHAMPION, metavar="BUNDLE", help="the model's folder [%(default)s]")
    add("--processes", type=_count, default=cpu_count(), metavar="N", help="[one per processor: %(default)s]")
    return parser


def _count(number: str) -> int:
    if not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{number!r} is not a whole number from 1 up")
    return int(number)
