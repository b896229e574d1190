"""scripts/deploy with the shell and the tools of busybox, as in Alpine; on macOS, with those of the system."""

import shutil
import subprocess
import sys

import pytest

from tests.scripts.desk import INFERENCE


@pytest.fixture
def alpine(desk):
    """Leave only the programs of busybox, kubectl and curl on the PATH."""
    desk.environment.pop("REGISTRY", None)
    if sys.platform != "linux":  # busybox is for Linux
        return desk
    busybox = shutil.which("busybox") or "busybox"
    subprocess.run([busybox, "--install", "-s", str(desk.bin)], check=True)
    (desk.bin / "curl").symlink_to(shutil.which("curl") or "curl")
    desk.environment["PATH"] = str(desk.bin)
    desk.shell = [busybox, "sh"]
    return desk


def test_tag_is_deployed_and_a_wrong_one_rolled_back(alpine):
    code, printed = alpine.deploy("v1")
    assert code == 0, printed
    alpine.cluster.missing.add(f"{INFERENCE}:v3")
    code, printed = alpine.deploy("v3")
    assert code == 1, printed
    assert alpine.running()[0] == f"{INFERENCE}:v1"


@pytest.mark.parametrize("registry", ["ghcr.io/Owner/Repo", "localhost:5000/a"])
def test_registry_is_accepted(alpine, registry):
    code, printed = alpine.deploy("v1", REGISTRY=registry, CONTEXT="moon")
    assert code == 2
    assert "no cluster answers in context moon" in printed


@pytest.mark.parametrize("registry", ["ghcr.io/ow ner", "a\nb", "/a"])
def test_wrong_registry_is_named(alpine, registry):
    code, printed = alpine.deploy("v1", REGISTRY=registry)
    assert code == 2
    assert f"REGISTRY={registry} is not the first part of an image's name" in printed
