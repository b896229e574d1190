"""Checkouts on Windows: a shell reads no carriage returns."""

import subprocess

from tests.servers import ROOT


def test_every_text_file_has_unix_line_ends_whatever_git_is_set_to():
    command = ["git", "-c", "core.autocrlf=true", "ls-files", "--eol"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines
    for line in lines:
        about, _, name = line.partition("\t")
        index, _, attributes = about.split(maxsplit=2)
        assert index in ("i/lf", "i/none", "i/-text"), name
        assert "eol=lf" in attributes or "-text" in attributes, name
