"""pip's settings on their way into a build."""

import configparser
import os
import subprocess
import sys

from tests.servers import ROOT


def test_the_settings_and_what_they_name_reach_the_build(tmp_path):
    wheels, index, certificate, out = (tmp_path / name for name in ("wheels", "index", "ca.crt", "pip.conf"))
    wheels.mkdir()
    (index / "simple").mkdir(parents=True)
    certificate.touch()
    file = tmp_path / "given.conf"
    file.write_text(
        f"[global]\nextra-index-url =\n    file://{index}/simple\n    https://packages.example/simple\n"
        f"cert = {certificate}\ntimeout = 5\n"
    )
    given = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    given |= {"PIP_CONFIG_FILE": str(file), "PIP_FIND_LINKS": str(wheels), "PIP_TIMEOUT": "7"}
    command = [sys.executable, "-m", "scripts.pip_settings", str(out)]
    printed = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=True).stdout
    options = printed.splitlines()
    assert f"--volume={out}:/etc/pip.conf:ro" in options
    for path in (wheels, index, certificate):
        assert f"--volume={path}:{path}:ro" in options
    assert not [option for option in options if "example" in option]
    handed = configparser.ConfigParser()
    handed.read_string(out.read_text())
    found = handed["global"]
    assert found["extra-index-url"].split() == [f"file://{index}/simple", "https://packages.example/simple"]
    assert (found["find-links"], found["timeout"]) == (str(wheels), "7"), "the environment wins over files"
