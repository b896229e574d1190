"""Predicting a folder: the service's answers, and a CSV file that survives interruption."""

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ml import score
from ml.data.files import walk
from tests import bundles, drawn_images, servers
from tests.ml import NOT_TEXT
from tests.services.inference.serving import service

# Enough and slow enough to interrupt a run.
MANY = 150
BAD = {
    "cut.jpg": (drawn_images.BROKEN["jpeg cut in half"], "truncated or damaged: "),
    "empty.png": (bytes, "empty: 0 bytes"),
    "notes.txt": (lambda: b"two cats, one dog", "not an image: This image format is not accepted. Send one of: JPEG"),
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
    """Every accepted kind of image, other files, odd names and links, and many slow images."""
    top = tmp_path_factory.mktemp("folder") / "holiday"
    for name in ("b", "many", "Ä/two\r\nlines", ".hidden", "b/@eaDir"):
        (top / name).mkdir(parents=True)
        (top / name / "1.jpg").write_bytes(drawn_images.plain(drawn_images.GREEN))
    for kind, draw in drawn_images.ACCEPTED.items():
        (top / kind).write_bytes(draw())
    for name, (content, _) in BAD.items():
        (top / "b" / name).write_bytes(content())
    (top / "b" / f'"{NOT_TEXT}, ').write_bytes(drawn_images.plain(drawn_images.BLUE))
    (top / "b" / "round").symlink_to(top)
    (top / "b" / "self").symlink_to(top / "b" / "self")
    (top / "b" / "gone.jpg").symlink_to(top / "nowhere")
    os.mkfifo(top / "b" / "pipe")
    slow = top / ".slow.png"
    slow.write_bytes(drawn_images.noise("PNG", (700, 500)))
    for number in range(MANY):
        (top / "many" / f"{number:03}.png").symlink_to(slow)
    return top


@pytest.fixture(scope="module")
def whole(folder: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """Run once; return the CSV file, the output and the exit code."""
    out = tmp_path_factory.mktemp("whole") / "scores.csv"
    done = run(folder, "--out", out, "--model", bundle)
    return out, done.stdout + done.stderr, done.returncode


def test_rows_follow_the_order_of_the_walk(whole: tuple[Path, str, int], folder: Path) -> None:
    expected = [path.as_posix().encode(errors="backslashreplace").decode() for path, _ in walk(folder)]
    assert [row["path"] for row in rows(whole[0])] == expected
    assert len(set(expected)) == len(expected) == MANY + len(drawn_images.ACCEPTED) + len(BAD) + 7
    assert not [path for path in expected if ".hidden" in path or "@eaDir" in path]
    assert rf'{folder}/b/"\udcff, ' in expected


def test_predictions_are_the_services(whole: tuple[Path, str, int], folder: Path, bundle: Path, tmp_path: Path) -> None:
    written = {row["path"]: row for row in rows(whole[0])}
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as running:
        running.wait_for_workers(1)
        for name in [*drawn_images.ACCEPTED, "b/1.jpg", "many/000.png"]:
            answer = running.send((folder / name).read_bytes()).json()
            row = written[(folder / name).as_posix()]
            assert row["label"] == answer["label"]
            assert float(row["confidence"]) == answer["confidence"]
            assert {name: float(row[f"probability_{name}"]) for name in bundles.CLASSES} == answer["probabilities"]
            assert row["uncertain"] == str(answer["uncertain"]).lower()
            assert {"name": row["model"], "version": row["version"]} == answer["model"]
            assert row["error"] == ""


def test_unusable_files_have_an_error_and_the_exit_code_is_1(whole: tuple[Path, str, int], folder: Path) -> None:
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
    assert f"{total}/{total} " in said, "the progress bar knows the total"
    assert code == 1


def test_interrupted_and_killed_runs_resume_to_the_same_bytes(
    whole: tuple[Path, str, int], folder: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    arguments = (folder, "--out", out, "--model", bundle)
    expected = whole[0].read_bytes()
    size = 0
    for number in (signal.SIGINT, signal.SIGKILL):
        process = psutil.Popen(command(*arguments), cwd=servers.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while not (out.exists() and out.stat().st_size > size + 3000):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        workers = process.children(recursive=True)
        # A terminal sends Ctrl-C to all processes. The command ends its workers, so some may be gone already.
        for one in [*workers, process] if number == signal.SIGINT else [process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)
        said = process.communicate(timeout=60)[0].decode()
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        assert "Traceback" not in said
        assert number == signal.SIGKILL or said.splitlines()[-1].startswith("Stopped.")
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive, "workers outlive the command"
        size = out.stat().st_size
        assert expected.startswith(out.read_bytes())
        assert size < len(expected), "ended too late to test anything"
    with out.open("ab") as file:  # as a kill within a write leaves it
        file.write(expected[size : size + 40])
    # Images that have a row are not predicted again: these would fail now.
    links = [path for row in rows(out)[:-1] if (path := Path(row["path"])).parent.name == "many"]
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


def test_output_among_the_images_is_not_predicted(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(drawn_images.plain(drawn_images.RED))
    done = run(tmp_path, "--out", tmp_path / "scores.csv", "--model", bundle, "--processes", "1")
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in rows(tmp_path / "scores.csv")] == ["red"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), r"There is no folder nowhere: .*"),
        ((".", "--model", "nowhere"), r"nowhere/manifest\.json: cannot be read \(No such file or directory\)\."),
        (("ml", "--out", "ml"), r"ml cannot be written \(Is a directory\): .*"),
        (("ml", "--processes", "0"), r"(?s)usage: .*'0' is not a whole number from 1 up"),
    ],
)
def test_wrong_argument_is_one_sentence_and_code_2(
    arguments: tuple[str, ...], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code: int | str | None = score.main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert re.fullmatch(sentence, capfd.readouterr().err.strip())


def test_command_imports_no_training_library() -> None:
    code = "import sys, ml.score; print(*{name.split('.')[0] for name in sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], cwd=servers.ROOT, capture_output=True, text=True, check=True)
    names = set(shown.stdout.split())
    assert {"onnxruntime", "tqdm"} <= names
    assert not names & {"torch", "torchvision", "mlflow", "onnx", "scipy", "sklearn", "pandas", "matplotlib"}
