"""scripts/test_tools installs the missing programs, or names them."""

import os
import shutil
import subprocess

import pytest

from tests import servers

SCRIPT = servers.ROOT / "scripts" / "test_tools"
PROGRAMS = ["busybox", "chromium", "chromedriver", "curl", "git", "jq", "prometheus", "promtool"]
PROGRAMS += ["prometheus-pushgateway", "ps"]


class Machine:
    """A machine with all programs of the tests, whose apt-get and daemons log their arguments."""

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
        """Return the exit code, the output, and the calls of apt-get and daemons."""
        self.program("id", f"echo {user}")
        command = [shutil.which("bash"), SCRIPT, *arguments]
        done = subprocess.run(command, env=os.environ | {"PATH": str(self.folder)}, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr, self.asked.read_text().splitlines()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_complete_machine_is_left_alone(machine):
    assert machine.run() == (0, "", [])


def test_root_gets_missing_programs_without_their_daemons(machine):
    machine.lacks("jq", "prometheus")
    code, _, asked = machine.run()
    assert code == 0
    assert asked[1].startswith("apt-get install") and asked[1].endswith(" jq prometheus")
    assert asked[2:] and all(
        line.endswith((" prometheus", " prometheus status", " prometheus stop")) for line in asked[2:]
    )


def test_images_need_more_programs(machine):
    code, _, asked = machine.run("images")
    assert code == 0
    assert {"buildah", "debootstrap", "podman", "runc"} <= set(asked[1].split())


def test_other_users_are_told_in_one_line(machine):
    machine.lacks("chromedriver")
    code, printed, asked = machine.run(user=1000)
    assert (code, asked) == (2, [])
    assert "chromium-driver" in printed and "sudo scripts/test_tools" in printed and printed.count("\n") == 1
