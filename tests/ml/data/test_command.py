"""The command: what it prints, what it writes, and that every failure is one sentence and an exit code."""

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

from ml.data.sample import sample
from tests import drawn_images as pictures
from tests import servers
from tests.ml import NOT_TEXT
from tests.ml.file_server import serving

COMMAND = [sys.executable, "-m", "ml.data"]


def run(*arguments: str | Path, shell: str = "") -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    if shell:
        command = ["bash", "-c", f'{shell}; exec "$@"', "bash", *command]
    return subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, timeout=120)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=servers.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupted(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("Stopped.\n")
    assert "Traceback" not in errors


def test_scan_prints_counts_and_problems_and_reports_them_all(tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    sample(folder, pictures=150, progress=False)
    for index in range(12):
        (folder / "square" / f"empty {index:02}.jpg").touch()
    odd = folder / "circle" / f"{NOT_TEXT}\x1b[2J\n.jpg"
    odd.write_bytes(pictures.BROKEN["jpeg cut in half"]())
    (tmp_path / "list.txt").write_text("circle/00000\n")
    result = run("scan", folder, "--exclude", tmp_path / "list.txt", "--report", tmp_path / "problems.csv")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("sample-shapes: 149 pictures, 14 files left out\n")
    rows = dict(re.findall(r"^(train|validation|test|all) +(.*)$", result.stdout, re.MULTILINE))
    assert rows["all"].split() == ["74", "75", "149"]
    assert [sum(int(row.split()[i]) for name, row in rows.items() if name != "all") for i in range(3)] == [74, 75, 149]
    assert result.stdout.count("0 bytes") == 10
    assert re.search(r"empty +and 2 more", result.stdout)
    assert "\x1b" not in result.stdout
    assert "163/163" in result.stderr
    with (tmp_path / "problems.csv").open(newline="", encoding="utf-8") as report:
        written = {row["path"]: row["reason"] for row in csv.DictReader(report)}
    names = {f"{folder}/square/empty {index:02}.jpg": "empty" for index in range(12)}
    odd_name = str(odd).encode(errors="backslashreplace").decode()
    assert written == names | {f"{folder}/circle/00000.jpg": "excluded", odd_name: "truncated or damaged"}


def test_scan_shows_why_there_are_too_few_pictures(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    result = run("scan", tmp_path)
    assert result.returncode == 1
    assert f"empty     {tmp_path}/cat/1.jpg" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("Class 'cat' has too few pictures (0 that can be used")


def test_download_prints_the_hash_and_the_damaged_members(tmp_path: Path) -> None:
    archive = tmp_path / "pets.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat/1.jpg", b"to be hurt")
        file.writestr("dog/1.jpg", b"sound")
    archive.write_bytes(archive.read_bytes().replace(b"to be hurt", b"to be HURT"))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    arguments = ("download", "--url", archive.as_uri(), "--sha256", sha256, "--to", tmp_path / "pets")
    result = run(*arguments)
    assert (result.returncode, result.stdout.splitlines()) == (
        0,
        [
            str(tmp_path / "pets"),
            f"SHA-256 {sha256}",
            "1 damaged in the archive and left out: cat/1.jpg",
        ],
    )
    assert "was there already" in run(*arguments).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["sample"],
        ["sample", "--to", "x", "--pictures", "-1"],
        ["download", "--sha256", "abc"],
        ["download", "--max-bytes", "much"],
    ],
)
def test_a_wrong_command_line_is_code_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "usage: python -m ml.data" in result.stderr


def test_a_failure_is_one_sentence_and_code_1(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for arguments in (
        ("scan", tmp_path / "nowhere"),
        ("scan", tmp_path),
        ("sample", "--to", tmp_path / "full"),
        ("download", "--url", "gopher://x/y.zip", "--to", tmp_path / "new"),
        ("download", "--url", f"http://127.0.0.1:{servers.free_port()}/y.zip", "--to", tmp_path / "new"),
    ):
        result = run(*arguments)
        assert (result.returncode, result.stdout) == (1, "")
        assert re.fullmatch(r"[^\n]+\.\n", result.stderr)


def test_a_full_disk_is_one_sentence_and_what_came_is_kept(tmp_path: Path) -> None:
    to = tmp_path / "pets"
    with serving(os.urandom(600_000)) as served:
        # A limit on the size of files is what a process without privileges can have of a full disk.
        result = run("download", "--url", served.address, "--to", to, shell="ulimit -f 200")
    assert result.returncode == 1
    assert (
        result.stderr.splitlines()[-1]
        == f"{to}.zip.part cannot be written (File too large): make room and run this again."
    )
    assert not to.exists()
    assert 100_000 < to.with_name("pets.zip.part").stat().st_size <= 200 * 1024
    result = run("sample", "--to", tmp_path / "set", shell="ulimit -f 1")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"{tmp_path}/set cannot be written (File too large)."
    assert {path.name for path in tmp_path.iterdir()} == {"pets.zip.part", "pets.zip.part.json"}


def test_ctrl_c_ends_a_scan(tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    big.write_bytes(pictures.noise("PNG", (3000, 2000)))
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
        interrupted(process)


def test_ctrl_c_ends_a_download_and_the_next_goes_on(tmp_path: Path) -> None:
    to, part = tmp_path / "pets", tmp_path / "pets.zip.part"
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat/1.jpg", os.urandom(500_000))
    with serving(archive.read_bytes()) as served:
        served.stalled = threading.Event()
        with start("download", "--url", served.address, "--to", to) as process:
            while process.poll() is None and not (part.exists() and part.stat().st_size > 100_000):
                time.sleep(0.05)
            interrupted(process)
        assert not to.exists()
        served.stalled.set()
        result = run("download", "--url", served.address, "--to", to)
        assert result.returncode == 0, result.stderr
        assert served.asked[1] is not None
    assert {path.name for path in tmp_path.iterdir()} == {"archive.zip", "pets"}
