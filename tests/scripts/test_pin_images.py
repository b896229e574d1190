"""python -m scripts.pin_images: the digests of our images, and of others that have none."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from scripts import pin_images
from tests.kustomize import manifests
from tests.servers import ROOT

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(manifests.ROOT, tmp_path / "kustomize")


def images(folder):
    rendered = manifests.render(folder / "overlays" / "production")
    return {
        container["image"]
        for each in manifests.workloads(rendered)
        for container in [*each.spec.get("initContainers", []), *each.spec["containers"]]
    }


def test_every_image_of_production_gets_a_digest(folder):
    looked_up = []

    def look_up(image):
        looked_up.append(image)
        return DIGEST

    changed = pin_images.pin(folder, "ghcr.io/me/it", "abc", look_up)
    assert folder / pin_images.PUBLISHED in changed
    found = images(folder)
    assert {f"ghcr.io/me/it/{name}@{DIGEST}" for name in ("inference", "monitor")} <= found
    assert all("@sha256:" in image for image in found)
    prometheus = manifests.workload(manifests.render(folder / "overlays" / "production"), "prometheus")
    assert prometheus.env["REPOSITORY_URL"] == "https://github.com/me/it"
    assert {"ghcr.io/me/it/inference:abc", "ghcr.io/me/it/monitor:abc"} <= set(looked_up)
    assert not any("@" in image for image in looked_up)


def test_model_is_looked_up_by_its_own_version(folder):
    published = folder / pin_images.PUBLISHED
    entry = "  - name: model\n    newName: ghcr.io/owner/repository/model\n    newTag: unpublished\n"
    published.write_text(published.read_text().replace("images:\n", f"images:\n{entry}"))
    looked_up = []
    pin_images.pin(folder, "ghcr.io/me/it", "abc", lambda image: looked_up.append(image) or DIGEST)
    assert f"ghcr.io/me/it/model:{pin_images.champion_version()}" in looked_up
    assert "ghcr.io/me/it/model:abc" not in looked_up


def test_next_publication_replaces_the_digests_alone(folder):
    pin_images.pin(folder, "ghcr.io/me/it", "abc", lambda image: DIGEST)
    changed = pin_images.pin(folder, "ghcr.io/me/it", "def", lambda image: DIGEST.replace("a", "b"))
    assert changed == [folder / pin_images.PUBLISHED]
    entries = yaml.safe_load(changed[0].read_text())["images"]
    assert all(entry["digest"] == DIGEST.replace("a", "b") and "newTag" not in entry for entry in entries)
    assert pin_images.pin(folder, "ghcr.io/me/it", "def", lambda image: DIGEST.replace("a", "b")) == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [(f"echo {DIGEST}", DIGEST), ("echo no such image >&2; exit 1", "no such image"), ("echo 404", "404")],
)
def test_docker_looks_up_a_digest(tmp_path, monkeypatch, said, expected):
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\n{said}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if expected == DIGEST:
        assert pin_images.look_up_with_docker("a/b:1") == DIGEST
    else:
        with pytest.raises(SystemExit, match=f"a/b:1 has no digest: {expected}"):
            pin_images.look_up_with_docker("a/b:1")


def test_missing_docker_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="docker is not installed"):
        pin_images.look_up_with_docker("a/b:1")


@pytest.mark.parametrize(("registry", "arguments"), [("", ["abc"]), ("ghcr.io/a/b", []), ("ghcr.io/a b", ["abc"])])
def test_usage_is_printed(registry, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "scripts.pin_images", *arguments],
        cwd=ROOT,
        env=os.environ | {"REGISTRY": registry},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage: REGISTRY=")
