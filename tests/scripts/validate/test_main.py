"""python -m scripts.validate: everything passes, and what waits for a digest is named."""

import sys

import pytest

from scripts.validate import __main__ as validate
from scripts.validate import builds

OURS = {f"ghcr.io/owner/repository/{name}:unpublished" for name in ("inference", "model", "monitor")}


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command, and return its exit code and output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["validate", *arguments])
        return validate.main(), *capsys.readouterr()

    return run


def test_everything_that_somebody_applies_is_valid(run):
    code, printed, problems = run()
    assert code == 0, problems
    assert "error" not in problems
    names = {line.partition(":")[0] for line in printed.splitlines()}
    assert {"overlays/minikube", "overlays/production", "components/mlflow"} <= names
    for cluster in ("minikube", "production"):
        for controller in ("flux", "argo-cd"):
            assert f"clusters/{cluster}/{controller} image-classification" in names


def test_only_images_without_a_published_digest_wait_for_one(run):
    code, _, problems = run("--digests")
    waiting = {line.split()[1] for line in problems.splitlines()}
    assert all(image in OURS or image.startswith("ghcr.io/mlflow/mlflow:") for image in waiting)
    assert code == bool(waiting)


def test_folder_that_cannot_be_rendered_is_an_error(monkeypatch, tmp_path, run):
    (tmp_path / "kustomization.yaml").write_text("resources: [gone.yaml]\n")
    monkeypatch.setattr(builds, "all_builds", lambda: [builds.Build("overlays/broken", tmp_path)])
    code, _, problems = run()
    assert code == 1
    assert "error: overlays/broken: " in problems
