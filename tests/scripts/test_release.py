"""scripts/release: the check of a version, its notes, and the files of a release."""

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.kustomize import manifests
from tests.servers import ROOT

CHANGES = "# Changelog\n\n## Unreleased\n\n- Later.\n\n## 1.2.3 - 2026-11-26\n\n- New.\n\n## 1.2.2\n\n- Old.\n"


@pytest.fixture
def repository(tmp_path):
    """A clone at its main, with the version 1.2.3."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    (origin / "scripts").mkdir(parents=True)
    shutil.copy2(ROOT / "scripts" / "release", origin / "scripts")
    (origin / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (origin / "CHANGELOG.md").write_text(CHANGES)
    git(origin, "init", "--quiet", "--initial-branch=main")
    commit(origin)
    git(tmp_path, "clone", "--quiet", str(origin), str(clone))
    return clone


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "all")


def release(repository, *arguments, **environment):
    command = [str(repository / "scripts" / "release"), *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_version_with_its_changes_is_accepted(repository):
    assert release(repository, "check", "v1.2.3") == (0, "", "")


@pytest.mark.parametrize(
    ("tag", "named"),
    [
        ("1.2.3", "no version such as"),
        ("v1.2", "no version such as"),
        ("v1.2.3-rc1", "no version such as"),
        ("v1.2.4", "pyproject.toml has another version"),
    ],
)
def test_wrong_version_is_refused(repository, tag, named):
    code, _, problems = release(repository, "check", tag)
    assert code == 2
    assert named in problems


def test_version_without_changes_is_refused(repository):
    (repository / "pyproject.toml").write_text('version = "1.2.4"\n')
    code, _, problems = release(repository, "check", "v1.2.4")
    assert code == 2
    assert "CHANGELOG.md has no changes of 1.2.4" in problems


def test_commit_that_is_not_on_main_is_refused(repository):
    commit(repository)
    code, _, problems = release(repository, "check", "v1.2.3")
    assert code == 2
    assert "not a commit of main" in problems


def test_notes_are_the_section_of_the_version(repository):
    assert release(repository, "notes", "v1.2.3")[1].strip() == "- New."


def test_usage_is_printed(repository):
    code, _, problems = release(repository, "other", "v1.2.3")
    assert code == 2
    assert "usage: scripts/release check|notes TAG" in problems


def test_files_are_collected_with_their_checksums(repository, tmp_path):
    shutil.copytree(manifests.ROOT, repository / "kustomize")
    shutil.copytree(ROOT / "models" / "champion", repository / "models" / "champion")
    tools = tmp_path / "bin"
    tools.mkdir()
    (repository / ".venv" / "bin").mkdir(parents=True)
    (repository / ".venv" / "bin" / "kubectl").symlink_to(shutil.which("kubectl") or "kubectl")
    (tools / "docker").write_text('#!/bin/sh\necho "{\\"spdxVersion\\": \\"$4\\"}"\n')
    (tools / "docker").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    code, _, problems = release(repository, "collect", "v1.2.3", "dist", REGISTRY="ghcr.io/Me/It", PATH=path)
    assert code == 0, problems
    dist = repository / "dist"
    sboms = {f"{image}-{platform}.spdx.json" for image in ("inference", "monitor") for platform in ("amd64", "arm64")}
    files = {"minikube.yaml", "production.yaml", "champion.tar.gz"} | sboms
    assert {path.name for path in dist.iterdir()} == files | {"SHA256SUMS"}
    sums = dict(reversed(line.split("  ")) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: hashlib.sha256((dist / name).read_bytes()).hexdigest() for name in files}
    assert "ghcr.io/me/it/inference:v1.2.3" in (dist / "inference-arm64.spdx.json").read_text()
    with tarfile.open(dist / "champion.tar.gz") as archive:
        assert {"champion/model.onnx", "champion/manifest.json"} <= set(archive.getnames())
