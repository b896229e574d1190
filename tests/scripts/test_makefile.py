"""The verbs, as far as they go without installing anything."""

import os
import re
import subprocess
import sys

import pytest

from tests import servers


def make(*arguments):
    # Without the settings of the `make test` that runs this.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=servers.ROOT, env=environment, capture_output=True, text=True, timeout=200
    )


def test_make_alone_lists_every_verb_once():
    listed = re.findall(r"^  make ([a-z-]+) +\S", make().stdout, re.MULTILINE)
    assert len(listed) == len(set(listed)) and {"help", "up", "train", "deploy", "test", "lint"} <= set(listed)


@pytest.mark.parametrize("python", ["false", "no-such-python"])
def test_python_that_is_old_or_missing_is_named(tmp_path, python):
    done = make("up", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}")
    assert done.returncode == 2
    assert f"PYTHON={python} is not Python 3.11 or newer" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_python_without_ensurepip_leaves_no_half_environment(tmp_path):
    """As Debian's does without python3-venv: the environment has a python, and no pip."""
    python, venv = tmp_path / "python", tmp_path / "venv"
    python.write_text(f"#!/bin/sh\n[ $1 = -c ] && exit 0\nmkdir -p {venv}/bin && touch {venv}/bin/python\nexit 1\n")
    python.chmod(0o755)
    done = make("up", f"VENV={venv}", f"PYTHON={python}")
    assert done.returncode == 2
    assert "apt install python3-venv" in done.stdout
    assert not venv.exists()


@pytest.mark.parametrize(
    ("verb", "right"), [("train", "make train DATA="), ("score", "make score FOLDER="), ("drift", "make drift FOLDER=")]
)
def test_verb_without_its_folder_installs_nothing(tmp_path, verb, right):
    done = make(verb, f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 2
    assert right in done.stdout
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("setting", ["train DATA=", "score FOLDER=", "drift FOLDER="])
def test_verb_with_a_missing_folder_starts_nothing(tmp_path, setting):
    missing = tmp_path / "no such folder"
    done = make(*f"{setting}{missing}".split(" ", 1), f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 2
    assert f"There is no folder {missing}: make {setting}" in done.stdout
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(("verb", "list_of_packages"), [("up", "requirements-up.txt"), ("test", "requirements.txt")])
def test_verb_installs_only_its_packages(tmp_path, verb, list_of_packages):
    plan = make("--dry-run", verb, f"VENV={tmp_path / 'venv'}").stdout
    assert re.findall(r"-r (\S+)", plan) == [list_of_packages]


def test_changed_list_of_packages_is_installed_again(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "up.stamp").touch()
    plan = ("--dry-run", "up", f"VENV={tmp_path}")
    assert "pip install" not in make(*plan).stdout
    assert "pip install" in make(*plan, "-W", "services/monitor/requirements.txt").stdout


def environment(folder):
    """Create an environment with all packages, as far as make can tell."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (folder / "bin" / "pip").write_text(f"#!{folder}/bin/python\n")
    (folder / "up.stamp").touch()
    return folder


def remove_python(venv):
    for python in (venv / "bin").glob("python*"):
        python.unlink()
        python.symlink_to("/removed/bin/python3")


def update_python(venv):
    (packages,) = (venv / "lib").iterdir()
    packages.rename(venv / "lib" / "python3.1")


def move_clone(venv):
    # As pip writes a long path.
    (venv / "bin" / "pip").write_text('#!/bin/sh\n\'\'\'exec\' "/home/me/my clone/.venv/bin/python" "$0" "$@"\n')


FAULTS = {
    remove_python: "its Python is gone",
    update_python: "its packages are not for Python 3.",
    move_clone: "it was moved here from /home/me/my clone/.venv",
}


@pytest.mark.parametrize("damage", FAULTS)
def test_environment_that_cannot_be_used_is_made_anew(tmp_path, damage):
    venv = environment(tmp_path / "venv")
    assert "pip install" not in make("--dry-run", "up", f"VENV={venv}").stdout
    damage(venv)
    plan = make("--dry-run", "up", f"VENV={venv}").stdout
    assert FAULTS[damage] in plan and re.search(r"pip install .*-r requirements-up.txt", plan)
    assert (venv / "up.stamp").exists(), "a dry run changes nothing"


def test_new_environment_replaces_one_without_python(tmp_path):
    venv = environment(tmp_path / "venv")
    remove_python(venv)
    done = make(f"{venv}/bin/python", f"VENV={venv}", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    assert not (venv / "up.stamp").exists()
    assert subprocess.run([venv / "bin" / "python", "-m", "pip", "--version"], check=True, capture_output=True).stdout


def test_torch_for_the_cpu_comes_from_its_index(tmp_path):
    plan, index = (
        ("--dry-run", "test", f"VENV={tmp_path / 'venv'}"),
        "--extra-index-url https://download.pytorch.org/whl/cpu",
    )
    assert index not in make(*plan).stdout
    assert f"{index} -r requirements.txt" in make(*plan, "TORCH=cpu").stdout
    wrong = make(*plan, "TORCH=cu130")
    assert wrong.returncode == 2 and "TORCH=cpu" in wrong.stderr
