"""What is in the images, and what is not."""

import subprocess

import pytest

from scripts import locks
from tests.images import engine
from tests.servers import ROOT

MEGABYTE = 10**6
OWNED = {
    "inference": ("services/__init__.py", "services/inference", "models/champion"),
    "monitor": ("services/__init__.py", "services/monitor"),
}
SHELLS = {"sh", "bash", "dash", "rbash", "ash", "zsh", "ksh", "csh", "busybox", "perl"}
BUILDING = {"gcc", "cc", "c++", "ld", "make", "pip", "pip3", "apt", "apt-get", "dpkg", "curl", "wget", "git"}
LABELS = "org.opencontainers.image."


def programs(image):
    """Names of all that can be run from a folder of programs."""
    found = image.look("find bin/ sbin/ usr/bin usr/sbin usr/local/bin venv/bin -maxdepth 1 ! -type d -printf '%f\\n'")
    return set(found.splitlines())


@pytest.mark.parametrize("target", OWNED)
def test_of_the_repository_an_image_holds_its_own_part_and_no_more(images, checkout, target):
    tracked = subprocess.run(
        ["git", "-C", checkout, "ls-files", *OWNED[target]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    inside = images[target].look("cd app && find . -type f -printf '%P\\n'").splitlines()
    compiled = {name for name in inside if name.endswith(".pyc")}
    assert set(inside) - compiled == set(tracked)
    sources = {name for name in tracked if name.endswith(".py")} - {"services/__init__.py"}
    assert {name.replace("__pycache__/", "").replace(".cpython-311.pyc", ".py") for name in compiled} == sources


@pytest.mark.parametrize("target", OWNED)
def test_nothing_that_builds_or_installs_is_left(images, target):
    image = images[target]
    assert programs(image) & {"python", "cat"}, "the search finds what is there"
    assert not programs(image) & BUILDING
    assert b"ModuleNotFoundError" in image.run("python", "-c", "import pip").stderr
    litter = "find venv app root tmp -name .cache -o -name tests -o -name .git -o -name '*.whl'"
    assert image.look(litter) == ""


@pytest.mark.parametrize("target", OWNED)
def test_there_is_no_shell_and_no_way_to_become_root(images, target):
    image = images[target]
    assert not programs(image) & SHELLS
    assert image.run("sh", "-c", "true").returncode == 127
    assert image.run("python", "-c", "print(1)").stdout == b"1\n"
    assert image.look("find . -xdev -type f -perm /6000") == ""


@pytest.mark.parametrize("target", OWNED)
def test_the_packages_are_those_of_the_lock(images, target):
    code = (
        "import importlib.metadata as m; print(*sorted(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    )
    installed = {
        line.lower().replace("_", "-") for line in images[target].run("python", "-c", code).stdout.decode().split()
    }
    locked = {f"{one.name}=={one.version}" for one in locks.read(ROOT / "services" / target / "requirements.lock")}
    assert locked == installed


@pytest.mark.parametrize("target", OWNED)
def test_no_file_can_be_changed_by_who_runs_in_it(images, target):
    writable = "'(' -user 10001 -o -group 10001 -o -perm /o=w ')' ! -type l ! -perm /o=t -print"
    assert images[target].look(f"find . -xdev -path ./dev -prune -o {writable}") == ""


@pytest.mark.parametrize(("target", "most"), [("inference", 350), ("monitor", 250)])
def test_the_size_has_a_limit(images, target, most):
    assert 50 * MEGABYTE < images[target].size < most * MEGABYTE


@pytest.mark.parametrize("target", OWNED)
def test_the_labels_say_where_it_comes_from(images, checkout, target):
    commit = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    found = engine.inspect(images[target].name)["Labels"]
    assert found[LABELS + "revision"] == commit.stdout.strip()
    assert found[LABELS + "title"] == target
    assert found[LABELS + "version"] == "test"
    assert found[LABELS + "licenses"] == "MIT"


@pytest.mark.parametrize("target", OWNED)
def test_the_user_is_a_number_that_is_not_roots(images, target):
    assert engine.inspect(images[target].name)["Config"]["User"] == "10001:10001"


def test_a_change_of_code_or_model_keeps_the_layers_of_packages(checkout):
    built = engine.build(checkout, "first", options="--layers")
    for name in ("services/inference/app.py", "services/monitor/check.py", "models/champion/MODEL_CARD.md"):
        with (checkout / name).open("a") as file:
            file.write("\n# changed\n")
    changed = engine.build(checkout, "changed", options="--layers")
    for target, own in (("inference", 3), ("monitor", 2)):
        before, after = built[target].layers, changed[target].layers
        assert before != after
        assert before[:-own] == after[:-own]
        assert len(before) > own
