"""scripts/test_tools: what is missing for the tests is installed, or named."""

import os
import shutil
import subprocess

import pytest

from tests import servers

SCRIPT = servers.ROOT / "scripts" / "test_tools"
PROGRAMS = [
    "chromium",
    "chromedriver",
    "curl",
    "git",
    "jq",
    "prometheus",
    "promtool",
    "prometheus-pushgateway",
    "ps",
    "kubectl",
]


class Machine:
    """A machine with all that the tests need, whose apt-get and daemons write down what they are asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = folder / "asked"
        self.asked.touch()
        for name in PROGRAMS:
            self.program(name, "")
        for name in ("apt-get", "service", "systemctl"):
            self.program(name, f'echo {name} "$@" >> {self.asked}')

    def program(self, name, script):
        (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.folder / name).chmod(0o755)

    def lacks(self, *names):
        for name in names:
            (self.folder / name).unlink()

    def run(self, *arguments, user=0):
        """Exit code, what was printed, and what was asked for."""
        self.program("id", f"echo {user}")
        command = [shutil.which("bash"), SCRIPT, *arguments]
        done = subprocess.run(command, env=os.environ | {"PATH": str(self.folder)}, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr, self.asked.read_text().splitlines()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_nothing_is_done_where_all_is_there(machine):
    assert machine.run() == (0, "", [])


def test_root_gets_what_is_missing_and_daemons_that_came_with_it_are_stopped(machine):
    machine.lacks("jq", "prometheus")
    code, _, asked = machine.run()
    assert code == 0
    assert asked[1].startswith("apt-get install") and asked[1].endswith(" jq prometheus")
    assert asked[2:] and all(
        line.endswith((" prometheus", " prometheus status", " prometheus stop")) for line in asked[2:]
    )


def test_the_tests_of_images_need_more(machine):
    code, _, asked = machine.run("images")
    assert code == 0
    assert {"buildah", "debootstrap", "podman", "runc"} <= set(asked[1].split())


def test_others_are_told_what_is_missing_and_how_to_get_it(machine):
    machine.lacks("chromedriver")
    code, printed, asked = machine.run(user=1000)
    assert (code, asked) == (2, [])
    assert "chromium-driver" in printed and "sudo scripts/test_tools" in printed


def test_kubectl_is_named_because_no_package_is_new_enough(machine):
    machine.lacks("kubectl")
    code, printed, asked = machine.run()
    assert (code, asked) == (2, [])
    assert "kubectl is missing" in printed and "https://kubernetes.io" in printed
