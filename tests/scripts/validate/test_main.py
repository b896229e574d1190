"""python -m scripts.validate: everything passes, and what waits for a digest is named."""

import sys

import pytest

from scripts.validate import __main__ as validate
from scripts.validate import builds

OURS = {f"ghcr.io/owner/repository/{name}:unpublished" for name in ("inference", "monitor")}


@pytest.fixture(scope="module")
def run():
    """Run the command, and return its exit code and output; each folder is rendered once."""
    rendered: dict[str, list[builds.Object]] = {}
    patch = pytest.MonkeyPatch()
    objects = builds.Build.objects
    patch.setattr(
        builds.Build, "objects", lambda self: rendered.get(self.name) or rendered.setdefault(self.name, objects(self))
    )

    def run(capsys, *arguments):
        with patch.context() as once:
            once.setattr(sys, "argv", ["validate", *arguments])
            return validate.main(), *capsys.readouterr()

    yield run
    patch.undo()


def test_everything_that_somebody_applies_is_valid(run, capsys):
    code, printed, problems = run(capsys)
    assert code == 0, problems
    assert "error" not in problems
    names = {line.partition(":")[0] for line in printed.splitlines()}
    assert {"overlays/minikube", "overlays/production", "components/mlflow"} <= names
    for cluster in ("minikube", "production"):
        for controller in ("flux", "argo-cd"):
            assert f"clusters/{cluster}/{controller} image-classification" in names


def test_only_images_without_a_published_digest_wait_for_one(run, capsys):
    code, _, problems = run(capsys, "--digests")
    waiting = {line.split()[1] for line in problems.splitlines()}
    assert all(image in OURS or image.startswith("ghcr.io/mlflow/mlflow:") for image in waiting)
    assert code == bool(waiting)


def test_folder_that_cannot_be_rendered_is_an_error(monkeypatch, tmp_path, capsys):
    (tmp_path / "kustomization.yaml").write_text("resources: [gone.yaml]\n")
    monkeypatch.setattr(builds, "all_builds", lambda: [builds.Build("overlays/broken", tmp_path)])
    monkeypatch.setattr(sys, "argv", ["validate"])
    assert validate.main() == 1
    assert "error: overlays/broken: " in capsys.readouterr().err
