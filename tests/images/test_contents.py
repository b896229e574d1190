"""What is in the images, and what is not."""

import subprocess

import pytest

from tests.images import engine

MEGABYTE = 10**6
OWNED = {
    "inference": ("services/__init__.py", "services/inference", "models/champion"),
    "monitor": ("services/__init__.py", "services/monitor"),
}
LABELS = "org.opencontainers.image."


@pytest.mark.parametrize("target", OWNED)
def test_of_the_repository_an_image_holds_its_own_part_and_no_more(images, checkout, target):
    tracked = subprocess.run(
        ["git", "-C", checkout, "ls-files", *OWNED[target]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    inside = images[target].shell("cd /app && find . -type f -printf '%P\\n'").splitlines()
    compiled = {name for name in inside if name.endswith(".pyc")}
    assert set(inside) - compiled == set(tracked)
    sources = {name for name in tracked if name.endswith(".py")} - {"services/__init__.py"}
    assert {name.replace("__pycache__/", "").replace(".cpython-311.pyc", ".py") for name in compiled} == sources


@pytest.mark.parametrize("target", OWNED)
def test_nothing_that_builds_or_installs_is_left(images, target):
    image = images[target]
    assert image.shell("which gcc cc make pip pip3 | grep --invert-match ^/usr/bin/pip || true") == ""
    assert image.shell("python -c 'import pip' 2>&1 | tail --lines=1").startswith("ModuleNotFoundError")
    litter = "find /venv /app /root /tmp -name .cache -o -name tests -o -name .git -o -name '*.whl'"
    assert image.shell(litter) == ""


@pytest.mark.parametrize("target", OWNED)
def test_no_file_can_be_changed_by_who_runs_in_it(images, target):
    writable = "find / -xdev '(' -user 10001 -o -group 10001 -o -perm /o=w ')' ! -type l ! -perm /o=t -print"
    assert images[target].shell(writable) == ""


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
