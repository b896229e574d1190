"""The verbs, as far as they go without installing anything."""

import os
import re
import subprocess

import pytest

from tests import servers


def make(*arguments):
    # `make test` passes its own settings down; these are makes of their own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=servers.ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def test_make_alone_lists_every_verb():
    listed = re.findall(r"^  make ([a-z-]+) +\S", make().stdout, re.MULTILINE)
    assert listed == [
        *("help", "up", "mlflow", "train", "data", "score", "demo"),
        *("images", "deploy", "minikube", "labelled-images", "test", "test-faults", "test-images"),
        *("bench", "lint", "lock", "audit", "clean"),
    ]


@pytest.mark.parametrize("python", ["false", "no-such-python"])
def test_a_python_that_is_too_old_or_none_is_named(tmp_path, python):
    done = make("up", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}")
    assert done.returncode == 2
    assert f"PYTHON={python} is not Python 3.11 or newer" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_a_python_without_ensurepip_leaves_nothing_half_made_and_names_the_cure(tmp_path):
    """As Debian's does without python3-venv: the environment has a python, and no pip."""
    python, venv = tmp_path / "python", tmp_path / "venv"
    python.write_text(f"#!/bin/sh\n[ $1 = -c ] && exit 0\nmkdir -p {venv}/bin && touch {venv}/bin/python\nexit 1\n")
    python.chmod(0o755)
    done = make("up", f"VENV={venv}", f"PYTHON={python}")
    assert done.returncode == 2
    assert "apt install python3-venv" in done.stdout
    assert not venv.exists()


@pytest.mark.parametrize(("verb", "right"), [("train", "make train DATA="), ("score", "make score FOLDER=")])
def test_a_verb_without_its_folder_says_so_before_it_installs_anything(tmp_path, verb, right):
    done = make(verb, f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 2
    assert right in done.stdout
    assert not (tmp_path / "venv").exists()


def test_only_what_needs_pytorch_installs_it(tmp_path):
    venv = f"VENV={tmp_path / 'venv'}"
    with_pytorch = {
        "up": False,
        "mlflow": False,
        "score": False,
        "test": True,
        "lint": True,
        "demo": True,
        "data": True,
    }
    for verb, needs in with_pytorch.items():
        plan = make("--dry-run", verb, venv).stdout
        assert ("-r requirements.txt" in plan) is needs, verb
        assert ("-r requirements-up.txt" in plan) is not needs, verb


def test_a_changed_list_of_packages_is_installed_again(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "up.stamp").touch()
    assert "pip install" not in make("--dry-run", "up", f"VENV={tmp_path}").stdout
    assert (
        "pip install" in make("--dry-run", "up", f"VENV={tmp_path}", "-W", "services/monitor/requirements.txt").stdout
    )
