"""The files in the images."""

import json
import subprocess

import pytest
from packaging.utils import canonicalize_name

from scripts import locks
from tests.images import engine
from tests.servers import ROOT

MEGABYTE = 10**6
CHAMPION = "models/champion"
OWNED = {
    "inference": ("bundle", "services/__init__.py", "services/inference", "models/champion"),
    "monitor": ("services/__init__.py", "services/monitor"),
}
SHELLS = {"sh", "bash", "dash", "rbash", "ash", "zsh", "ksh", "csh", "busybox", "perl"}
TOOLS = {"gcc", "cc", "c++", "ld", "make", "pip", "pip3", "apt", "apt-get", "dpkg", "curl", "wget", "git"}
LABELS = "org.opencontainers.image."


@pytest.fixture(params=OWNED)
def target(request):
    return request.param


@pytest.fixture
def image(images, target):
    return images[target]


def git(checkout, *arguments):
    return subprocess.run(["git", "-C", checkout, *arguments], capture_output=True, text=True, check=True).stdout


def test_image_has_its_own_part_of_the_repository_only(image, target, checkout):
    tracked = set(git(checkout, "ls-files", *OWNED[target]).splitlines())
    inside = set(image.inspect_files("cd app && find . -type f -printf '%P\\n'").splitlines())
    compiled = {name for name in inside if name.endswith(".pyc")}
    assert inside - compiled == tracked
    sources = {name for name in tracked if name.endswith(".py")} - {"services/__init__.py"}
    assert {name.replace("__pycache__/", "").replace(".cpython-311.pyc", ".py") for name in compiled} == sources


def test_model_has_its_bundle_only_and_anybody_may_read_it(model, checkout):
    tracked = {name.replace(CHAMPION, "bundle") for name in git(checkout, "ls-files", CHAMPION).splitlines()}
    assert set(model.inspect_files("find . -type f -printf '%P\\n'").splitlines()) == tracked
    assert model.inspect_files("find . ! -perm -o=r") == ""
    version = json.loads((checkout / CHAMPION / "manifest.json").read_text())["version"]
    labels = engine.inspect(model.name)["Labels"]
    assert (labels[LABELS + "title"], labels[LABELS + "version"]) == ("model", version)
    assert engine.inspect(f"{engine.REGISTRY}/model:{version}")["Id"] == engine.inspect(model.name)["Id"]


def test_image_has_no_shell_no_tools_and_no_way_to_root(image):
    folders = "bin/ sbin/ usr/bin usr/sbin usr/local/bin venv/bin"
    programs = set(image.inspect_files(f"find {folders} -maxdepth 1 ! -type d -printf '%f\\n'").splitlines())
    assert {"python", "cat"} <= programs
    assert not programs & (SHELLS | TOOLS)
    assert image.run("sh", "-c", "true").returncode == 127
    assert image.run("python", "-c", "print(1)").stdout == b"1\n"
    assert b"ModuleNotFoundError" in image.run("python", "-c", "import pip").stderr
    litter = "find venv app root tmp -name .cache -o -name tests -o -name .git -o -name '*.whl'"
    assert image.inspect_files(litter) == ""
    assert image.inspect_files("find . -xdev -type f -perm /6000") == ""


def test_packages_are_those_of_the_lock(image, target):
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    lines = [line.partition("==") for line in image.run("python", "-c", code).stdout.decode().split()]
    installed = {f"{canonicalize_name(name)}=={version}" for name, _, version in lines}
    packages = locks.read(ROOT / "services" / target / "requirements.lock")
    assert installed == {f"{one.name}=={one.version}" for one in packages if one.needed_here}


def test_files_are_not_writable_for_the_numeric_user(image):
    assert engine.inspect(image.name)["Config"]["User"] == "10001:10001"
    writable = "'(' -user 10001 -o -group 10001 -o -perm /o=w ')' ! -type l ! -perm /o=t -print"
    assert image.inspect_files(f"find . -xdev -path ./dev -prune -o {writable}") == ""


def test_size_is_limited(image, target):
    assert 50 * MEGABYTE < image.size < {"inference": 350, "monitor": 250}[target] * MEGABYTE


def test_labels_have_the_commit(image, target, checkout):
    found = engine.inspect(image.name)["Labels"]
    labels = {"revision": git(checkout, "rev-parse", "HEAD").strip(), "title": target, "version": "test"}
    assert {LABELS + name: value for name, value in labels.items()}.items() <= found.items()
    assert found[LABELS + "licenses"] == "MIT"


def test_change_of_code_or_model_keeps_the_layers_of_packages(checkout):
    built = engine.build(checkout, "first", options="--layers")
    for name in ("services/inference/app.py", "services/monitor/check.py", "models/champion/MODEL_CARD.md"):
        with (checkout / name).open("a") as file:
            file.write("\n# changed\n")
    changed = engine.build(checkout, "changed", options="--layers")
    for target, own in OWNED.items():
        before, after = built[target].layers, changed[target].layers
        assert before != after
        assert before[: -len(own)] == after[: -len(own)]
        assert len(before) > len(own)
