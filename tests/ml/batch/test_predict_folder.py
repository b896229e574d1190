"""The command that scores a folder: the service's answers, and a file that survives what ends a run."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ml.batch import predict_folder as score
from ml.data.files import walk
from tests import bundles, servers
from tests import drawn_images as pictures
from tests.ml import NOT_TEXT
from tests.services.inference.serving import service

# Enough of them, and slow enough, to end a run in the midst of them.
MANY = 150
BAD = {
    "cut.jpg": (pictures.BROKEN["jpeg cut in half"], "truncated or damaged: "),
    "empty.png": (bytes, "empty: 0 bytes"),
    "notes.txt": (lambda: b"two cats, one dog", "not a picture: not one of JPEG"),
}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ml.score", *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=servers.ROOT, capture_output=True, text=True, timeout=120)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.write(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every accepted kind of picture, files that are none, odd names and links, and many that take a while."""
    top = tmp_path_factory.mktemp("folder") / "holiday"
    for name in ("b", "many", "Ä/two\r\nlines", ".hidden", "b/@eaDir"):
        (top / name).mkdir(parents=True)
        (top / name / "1.jpg").write_bytes(pictures.plain(pictures.GREEN))
    for kind, picture in pictures.ACCEPTED.items():
        (top / kind).write_bytes(picture())
    for name, (content, _) in BAD.items():
        (top / "b" / name).write_bytes(content())
    (top / "b" / f'"{NOT_TEXT}, ').write_bytes(pictures.plain(pictures.BLUE))
    (top / "b" / "round").symlink_to(top)
    (top / "b" / "self").symlink_to(top / "b" / "self")
    (top / "b" / "gone.jpg").symlink_to(top / "nowhere")
    os.mkfifo(top / "b" / "pipe")
    slow = top / ".slow.png"
    slow.write_bytes(pictures.noise("PNG", (700, 500)))
    for number in range(MANY):
        (top / "many" / f"{number:03}.png").symlink_to(slow)
    return top


@pytest.fixture(scope="module")
def whole(folder: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """The file that one run wrote, what the run said, and its exit code."""
    out = tmp_path_factory.mktemp("whole") / "scores.csv"
    done = run(folder, "--out", out, "--model", bundle)
    return out, done.stdout + done.stderr, done.returncode


def test_every_file_has_its_row_in_the_order_of_the_walk(whole: tuple[Path, str, int], folder: Path) -> None:
    expected = [path.as_posix().encode(errors="backslashreplace").decode() for path, _ in walk(folder)]
    assert [row["path"] for row in rows(whole[0])] == expected
    assert len(set(expected)) == len(expected) == MANY + len(pictures.ACCEPTED) + len(BAD) + 7
    assert not [path for path in expected if ".hidden" in path or "@eaDir" in path]
    assert rf'{folder}/b/"\udcff, ' in expected


def test_the_answers_are_the_services(whole: tuple[Path, str, int], folder: Path, bundle: Path, tmp_path: Path) -> None:
    scored = {row["path"]: row for row in rows(whole[0])}
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as running:
        running.wait_for_workers(1)
        for path in [
            *(folder / kind for kind in pictures.ACCEPTED),
            folder / "b" / "1.jpg",
            folder / "many" / "000.png",
        ]:
            answer = running.send(path.read_bytes()).json()
            row = scored[path.as_posix()]
            assert row["label"] == answer["label"]
            assert float(row["confidence"]) == answer["confidence"]
            assert {name: float(row[f"probability_{name}"]) for name in bundles.CLASSES} == answer["probabilities"]
            assert row["uncertain"] == str(answer["uncertain"]).lower()
            assert {"name": row["model"], "version": row["version"]} == answer["model"]
            assert row["error"] == ""


def test_what_cannot_be_scored_says_why_and_so_does_the_exit_code(whole: tuple[Path, str, int], folder: Path) -> None:
    out, said, code = whole
    errors = {row["path"].removeprefix(f"{folder}/"): row for row in rows(out) if row["error"]}
    expected = {f"b/{name}": error for name, (_, error) in BAD.items()} | {
        "b/pipe": "unreadable: not a regular file",
        "b/gone.jpg": "unreadable: No such file or directory",
        "b/self": "unreadable: Too many levels of symbolic links",
    }
    assert errors.keys() == expected.keys()
    for name, row in errors.items():
        assert row["error"].startswith(expected[name])
        assert not any(value for key, value in row.items() if key not in ("path", "error", "model", "version"))
    total = len(rows(out))
    assert f"{out}: {total} rows, {len(expected)} of them files that could not be scored" in said
    assert f"{total}/{total} " in said, "the progress bar knows how many there are"
    assert code == 1


def test_ended_by_ctrl_c_and_killed_it_goes_on_to_the_same_bytes(
    whole: tuple[Path, str, int], folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    arguments = (folder, "--out", out, "--model", bundle)
    expected = whole[0].read_bytes()

    def begun(size: int) -> Iterator[psutil.Process]:
        """Start the command; gives its processes once the file is longer than that."""
        process = psutil.Popen(command(*arguments), cwd=servers.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while not (out.exists() and out.stat().st_size > size):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        yield process
        yield from process.children(recursive=True)

    size = 0
    for number in (signal.SIGINT, signal.SIGKILL):
        process, *others = begun(size + 3000)
        # A terminal sends Ctrl-C to all of them.
        for one in [process, *others] if number == signal.SIGINT else [process]:
            one.send_signal(number)
        said = process.communicate(timeout=60)[0].decode()
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        assert "Traceback" not in said
        if number == signal.SIGINT:
            assert said.endswith(f"\nStopped. The same command goes on after the last row of {out}.\n")
        _, alive = psutil.wait_procs(others, timeout=20)
        assert not alive, "processes that score outlive the command"
        size = out.stat().st_size
        assert expected.startswith(out.read_bytes())
        assert size < len(expected), "ended too late to test anything"
    with out.open("ab") as file:  # what a kill within a write would leave
        file.write(expected[size : size + 40])
    # Rows that are there are not made again: these pictures could not be.
    there = [Path(row["path"]) for row in rows(out)[:-1]]
    links = [path for path in there if path.parent.name == "many"]
    assert links
    for path in links:
        path.unlink()
        path.touch()
    try:
        assert run(*arguments).returncode == 1
    finally:
        for path in links:
            path.unlink()
            path.symlink_to(folder / ".slow.png")
    assert out.read_bytes() == expected


def test_a_file_of_its_own_among_the_pictures_is_not_scored(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "model")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(pictures.plain(pictures.RED))
    out = tmp_path / "pictures" / "scores.csv"
    done = run(tmp_path / "pictures", "--out", out, "--model", tmp_path / "model", "--processes", "1")
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in rows(out)] == ["red"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), r"There is no folder nowhere: give one that holds pictures\."),
        ((".", "--model", "nowhere"), r"nowhere/manifest\.json: cannot be read \(No such file or directory\)\."),
        (("ml", "--out", "/nowhere/scores.csv"), r"/nowhere/scores\.csv cannot be written \(No such file or .*"),
        (("ml", "--processes", "0"), r"(?s)usage: .*'0' is not a whole number from 1 up"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    arguments: tuple[str, ...], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code: int | str | None = score.main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert re.fullmatch(sentence, capfd.readouterr().err.strip())


def test_it_needs_no_library_of_training() -> None:
    code = "import sys, ml.score; print(*{name.split('.')[0] for name in sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], cwd=servers.ROOT, capture_output=True, text=True, check=True)
    names = set(shown.stdout.split())
    assert {"onnxruntime", "tqdm"} <= names
    assert not names & {"torch", "torchvision", "mlflow", "onnx", "scipy", "sklearn", "pandas", "matplotlib"}
