"""The lock files match the requirements, and the page of licences matches the lock files."""

import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import licences, locks
from tests.servers import ROOT

# Built from parts, so that no tool takes this file for a leak.
PLANTED = {
    "token.py": 'token = "ghp_' + "a1B2" * 9 + '"\n',
    "key.pem": "-----BEGIN RSA " + "PRIVATE KEY-----\n",
    "settings.py": 'password = "' + "correct-horse-" + 'battery"\n',
}


@pytest.fixture(params=locks.FILES, ids=lambda file: file.parent.name)
def file(request):
    return request.param


def wanted(file):
    return [Requirement(line) for line in file.with_suffix(".txt").read_text().splitlines() if line and line[0] != "#"]


def test_every_entry_is_read_with_its_hashes(file):
    found = locks.read(file)
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith((" ", "#"))]
    assert len(found) == len(lines) > 0
    assert all(one.hashes for one in found)
    assert sum(one.hashes for one in found) == file.read_text().count("sha256:")


def test_lock_has_the_required_versions(file):
    versions = {one.name: one.version for one in locks.read(file)}
    for requirement in wanted(file):
        assert str(requirement.specifier) == "==" + versions[requirement.name], f"{requirement}: run make lock"


def test_lock_has_the_requirements_of_its_packages(file):
    versions = {one.name: one.version for one in locks.read(file)}
    known = [name for name, version in versions.items() if metadata.version(name) == version]
    assert known, "nothing here is as in the lock"
    needed = [Requirement(line) for name in known for line in metadata.requires(name) or []]
    missing = {
        canonicalize_name(requirement.name)
        for requirement in needed
        if not requirement.marker
        or requirement.marker.evaluate({"extra": "", "python_version": "3.11", "python_full_version": "3.11.9"})
    } - versions.keys()
    assert not missing, f"run make lock: {missing}"


def test_lock_has_wheels_for_both_architectures(file):
    # Two hashes would be the wheel and the source of one architecture.
    hashes = {one.name: one.hashes for one in locks.read(file)}
    compiled = {"inference": ("numpy", "onnxruntime", "pillow"), "monitor": ("cryptography", "pyyaml")}
    assert all(hashes[name] >= 4 for name in compiled[file.parent.name])


def test_page_of_licences_matches_the_locks():
    page = licences.PAGE.read_text()
    assert page == licences.page(page), "run make lock"


def test_newer_release_here_does_not_change_the_page(monkeypatch, tmp_path):
    page = licences.PAGE.read_text()
    for one in {one.name for file in locks.FILES for one in locks.read(file)}:
        newer = tmp_path / f"{one.replace('-', '_')}-99.9.dist-info"
        newer.mkdir()
        (newer / "METADATA").write_text(f"Name: {one}\nVersion: 99.9\nLicense-Expression: Another\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert licences.page(page) == page
    with pytest.raises(licences.LicenceError, match=r"not installed here: pip install --no-deps \S+==\d"):
        licences.page()


def test_page_follows_the_installed_version():
    page = licences.PAGE.read_text()
    flask = next(row for row in page.splitlines() if row.startswith("| flask |"))
    assert licences.page(page.replace(flask, flask.replace("BSD-3-Clause", "Forged"))) == page


def test_copyleft_package_stops_the_page(monkeypatch):
    monkeypatch.setattr(licences, "NAMED", {})
    with pytest.raises(licences.LicenceError, match=r"certifi \S+ has the licence Mozilla"):
        licences.page(licences.PAGE.read_text())


def scan(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the search for secrets of `make lint` over a folder."""
    files = " ".join(map(str, folder.iterdir()))
    command = ["make", "--silent", "find-secrets", f"FILES={files}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_search_for_secrets_finds_them_and_passes_hashes(tmp_path):
    (tmp_path / "fine.py").write_text('commit = "' + "0123456789abcdef" * 2 + '01234567"\n')
    clean = scan(tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    for name, text in PLANTED.items():
        (tmp_path / name).write_text(text)
    done = scan(tmp_path)
    assert done.returncode != 0
    assert set(re.findall(r"Location: +\S+/(\S+):1", done.stdout + done.stderr)) == set(PLANTED)
