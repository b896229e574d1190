"""Compare inference engines: ``python -m benchmarks.studies.engines``.

Every round measures every engine, each in a process of its own. Writes a table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks import machine, photos
from benchmarks.report import spread, table
from benchmarks.servers.environment import NotInstalledError, python
from benchmarks.servers.process import ROOT
from benchmarks.studies.engines.engines import ENGINES, ONNX_RUNTIME, Engine
from bundle.load import CHAMPION, load
from bundle.preprocess import decode

OUT = Path("docs/benchmarks/engines.md")
BATCHES = ("1", "4")
COLUMNS = ("engine", *(f"batch of {batch}, ms an image" for batch in BATCHES), "largest difference of a probability")
COMMAND = "python -m benchmarks.studies.engines --photos <folder or zip of photos>"


class EngineError(Exception):
    """An engine failed; the message has the end of its output."""


@dataclass
class Row:
    """The runs of one engine, as ``measure`` printed them."""

    engine: Engine
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The probabilities of the first run."""
        return np.array(self.runs[0]["probabilities"], np.float32)


def run(engine: Engine, bundle: Path, pixels: Path, seconds: float) -> dict[str, Any]:
    """Measure an engine in a process of its own, with the interpreter that has its packages.

    Raises:
        NotInstalledError: Its packages could not be installed.
        EngineError: It failed.
    """
    interpreter = Path(sys.executable) if engine.is_ours else python(Path(__file__).parent)
    command = [str(interpreter), "-m", "benchmarks.studies.engines.measure", engine.package, str(bundle), str(pixels)]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([*command, str(seconds), *BATCHES], env=variables, capture_output=True, text=True)
    if result.returncode:
        raise EngineError("\n".join(result.stderr.splitlines()[-5:]))
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def compare(
    engines: Sequence[Engine], bundle: Path, pixels: NDArray[np.uint8], rounds: int, seconds: float
) -> tuple[list[Row], dict[str, str]]:
    """Measure every engine once per round; each round begins with another engine.

    Returns:
        The rows, and the reasons by name of the engines that are left out.
    """
    rows, left_out = [Row(engine) for engine in engines], {}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=rounds * len(rows), unit="run") as bar:
        file = Path(folder) / "pixels.npy"
        np.save(file, pixels)
        for number in range(rounds):
            first = number % len(rows)
            for row in (*rows[first:], *rows[:first]):
                bar.set_description(row.engine.name)
                if row.engine.name not in left_out:
                    try:
                        row.runs.append(run(row.engine, bundle, file, seconds))
                    except (NotInstalledError, EngineError) as error:
                        if row.engine is ONNX_RUNTIME:
                            raise
                        left_out[row.engine.name] = str(error)
                bar.update()
    return [row for row in rows if row.engine.name not in left_out], left_out


def describe(rows: Sequence[Row], left_out: dict[str, str]) -> str:
    """Format the comparison as Markdown."""
    (reference,) = (row.probabilities for row in rows if row.engine is ONNX_RUNTIME)
    parts = [table(COLUMNS, [_cells(row, reference) for row in rows])]
    parts += [f"Left out: {name} ({reason})." for name, reason in left_out.items()]
    return "\n\n".join(parts) + "\n"


def _cells(row: Row, reference: NDArray[np.float32]) -> list[str]:
    times = [spread((run["milliseconds"][batch] for run in row.runs), 1) for batch in BATCHES]
    difference = "random weights"
    if row.engine is ONNX_RUNTIME:
        difference = ""
    elif row.engine.has_weights:
        difference = f"{np.abs(row.probabilities - reference).max():.1e}"
    return [f"{row.engine.name} ({row.runs[0]['version']})", *times, difference]


def main() -> None:
    """Compare inference engines on one thread, and write a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.engines", description=main.__doc__)
    add = parser.add_argument
    photos.add_arguments(parser)
    add("--bundle", type=Path, default=CHAMPION, metavar="FOLDER", help="[%(default)s]")
    add("--rounds", type=int, default=5, metavar="N", help="[%(default)s]")
    add("--seconds", type=float, default=5, help="of each measurement [%(default)s]")
    add("--quick", action="store_true", help="one short round as a trial; writes only to --out")
    add("--out", type=Path, metavar="FILE", help=f"for the table [{OUT}]")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.most = 1, 1, 8
    images = photos.from_arguments(parser, options)
    where = machine.describe()
    manifest = load(options.bundle).manifest
    pixels = np.stack([decode(image, manifest.input.size, manifest.input.resize) for image in images])
    found = compare(ENGINES, options.bundle, pixels, options.rounds, options.seconds)
    source = f"{len(images)} {'photos' if options.photos else 'drawn images'}"
    arithmetic = "8-bit arithmetic (PyTorch: float32)" if manifest.precision == "int8" else "float32 arithmetic"
    text = (
        f"{where}. {manifest.training.architecture}, {manifest.input.size} × {manifest.input.size} pixels, "
        f"{manifest.precision} weights, {arithmetic}, one thread. {source.capitalize()}, decoded before; medians "
        f"of {options.rounds} interleaved rounds, the smallest and the largest in brackets. PyTorch runs the network "
        f"without temperature and out-of-distribution score.\n\n{describe(*found)}"
    )
    print(text)
    if out := options.out or (None if options.quick else OUT):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(f"# Comparison of inference engines\n\nWritten by `{COMMAND}`.\n\n{text}")


if __name__ == "__main__":
    main()
