"""The command: its output, and one sentence and an exit code for every failure."""

import csv
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from ml.data.__main__ import main
from ml.data.sample import sample
from tests import drawn_images, servers
from tests.ml import NOT_TEXT
from tests.ml.file_server import serving

COMMAND = [sys.executable, "-m", "ml.data"]


def run(*arguments: str | Path) -> int:
    return main([*map(str, arguments)])


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=servers.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("Stopped.\n")
    assert "Traceback" not in errors


def test_scan_prints_counts_and_writes_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shapes"
    sample(folder, images=150, progress=False)
    for index in range(12):
        (folder / "square" / f"empty {index:02}.jpg").touch()
    odd = folder / "circle" / f"{NOT_TEXT}\x1b[2J\n.jpg"
    odd.write_bytes(drawn_images.BROKEN["jpeg cut in half"]())
    (tmp_path / "list.txt").write_text("circle/00000\n")
    assert run("scan", folder, "--exclude", tmp_path / "list.txt", "--report", tmp_path / "problems.csv") == 0
    shown, errors = capsys.readouterr()
    assert shown.startswith("sample-shapes: 149 images, 14 files left out\n")
    rows = dict(re.findall(r"^(train|validation|test|all) +(.*)$", shown, re.MULTILINE))
    assert rows["all"].split() == ["74", "75", "149"]
    assert [sum(int(row.split()[i]) for name, row in rows.items() if name != "all") for i in range(3)] == [74, 75, 149]
    assert shown.count("0 bytes") == 10
    assert re.search(r"empty +and 2 more", shown)
    assert "\x1b" not in shown
    assert "163/163" in errors
    with (tmp_path / "problems.csv").open(newline="", encoding="utf-8") as report:
        written = {row["path"]: row["reason"] for row in csv.DictReader(report)}
    names = {f"{folder}/square/empty {index:02}.jpg": "empty" for index in range(12)}
    odd_name = str(odd).encode(errors="backslashreplace").decode()
    assert written == names | {f"{folder}/circle/00000.jpg": "excluded", odd_name: "truncated or damaged"}


def test_scan_of_too_few_images_shows_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    assert run("scan", tmp_path) == 1
    shown, errors = capsys.readouterr()
    assert f"empty     {tmp_path}/cat/1.jpg" in shown
    assert errors.splitlines()[-1].startswith("Class 'cat' has too few images (0 usable")


def test_download_prints_hash_and_damaged_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, to = tmp_path / "pets.zip", tmp_path / "pets"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat/1.jpg", b"to be hurt")
        file.writestr("dog/1.jpg", b"sound")
    archive.write_bytes(archive.read_bytes().replace(b"to be hurt", b"to be HURT"))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    arguments = ("download", "--url", archive.as_uri(), "--sha256", sha256, "--to", to)
    assert run(*arguments) == 0
    damaged = "1 damaged in the archive and left out: cat/1.jpg"
    assert capsys.readouterr().out.splitlines() == [str(to), f"SHA-256 {sha256}", damaged]
    assert run(*arguments) == 0
    assert "was there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    ["", "fly", "sample", "sample --to x --pictures -1", "download --sha256 abc", "download --max-bytes much"],
)
def test_wrong_command_line_is_code_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(*arguments.split())
    assert end.value.code == 2
    assert "usage: python -m ml.data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    ["scan {0}/nowhere", "scan {0}", "sample --to {0}/full", "download --url gopher://x/y.zip --to {0}/new"],
)
def test_failure_is_one_sentence_and_code_1(tmp_path: Path, arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    assert run(*arguments.format(tmp_path).split()) == 1
    shown, errors = capsys.readouterr()
    assert shown == "" and re.fullmatch(r"[^\n]+\.\n", errors)


def test_full_disk_is_one_sentence_and_the_part_is_kept(tmp_path: Path) -> None:
    def limited(blocks: int, *arguments: str | Path) -> str:
        # A limit on file sizes acts like a full disk and needs no privileges.
        command = ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", *COMMAND, *map(str, arguments)]
        result = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, timeout=120)
        assert result.returncode == 1
        return result.stderr.splitlines()[-1]

    to = tmp_path / "pets"
    with serving(os.urandom(600_000)) as served:
        error = limited(200, "download", "--url", served.address, "--to", to)
    assert error.startswith(f"{to}.zip.part cannot be written (File too large)")
    assert not to.exists()
    assert 100_000 < to.with_name("pets.zip.part").stat().st_size <= 200 * 1024
    assert limited(1, "sample", "--to", tmp_path / "set") == f"{tmp_path}/set cannot be written (File too large)."
    assert {path.name for path in tmp_path.iterdir()} == {"pets.zip.part", "pets.zip.part.json"}


def test_ctrl_c_ends_a_scan(tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    big.write_bytes(drawn_images.noise("PNG", (3000, 2000)))
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(3000):
            (tmp_path / "set" / name / f"{index}.png").symlink_to(big)
    with start("scan", tmp_path / "set") as process:
        assert process.stderr
        shown = ""
        while "/6000 " not in shown:
            assert process.poll() is None, shown
            shown += process.stderr.read(1)
        interrupt(process)


def test_ctrl_c_ends_a_download_and_the_next_resumes(tmp_path: Path) -> None:
    to, part = tmp_path / "pets", tmp_path / "pets.zip.part"
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat/1.jpg", os.urandom(500_000))
    with serving(archive.read_bytes()) as served:
        served.stalled = threading.Event()
        with start("download", "--url", served.address, "--to", to) as process:
            while process.poll() is None and not (part.exists() and part.stat().st_size > 100_000):
                time.sleep(0.05)
            interrupt(process)
        assert not to.exists()
        served.stalled.set()
        assert run("download", "--url", served.address, "--to", to) == 0
        assert served.asked[1] is not None
    assert {path.name for path in tmp_path.iterdir()} == {"archive.zip", "pets"}
