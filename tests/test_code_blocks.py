"""The code blocks of the documentation are of known languages, and say what exists."""

import ast
import configparser
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.documentation import TEXT, Block, blocks, without_placeholders
from tests.servers import GOLDEN, ROOT

# Snippets of js and python run in test_snippets.py, promql in test_readme.py and test_prometheus_rules.py.
LANGUAGES = {"sh", "powershell", "json", "yaml", "ini", "python", "js", "promql"}
ANSWERS = json.loads((GOLDEN.parent / "answers.json").read_text())
OPTIONS = json.loads((GOLDEN.parent / "command_line_options.json").read_text())
# A command and its arguments, up to the end of the line or of the inline code; a backslash continues the line.
COMMAND = re.compile(r"(?:-m |make )(ml\.[a-z]+|train|data|score|drift)(?![\w.])((?:\\\n|[^`\n#|&])*)")
MODULES = {"train": "ml.train", "data": "ml.data", "score": "ml.score", "drift": "ml.drift"}


def named(block: Block) -> str:
    return f"{block.page}: {block.text.strip().splitlines()[0][:30]}"


def in_languages(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks(*languages), ids=named)


def test_blocks_have_a_language_that_is_checked():
    assert {block.language for block in blocks()} == LANGUAGES


@in_languages("sh")
def test_shell_is_valid(block):
    done = subprocess.run(["bash", "-n"], input=without_placeholders(block.text), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@in_languages("powershell")
def test_powershell_lines_are_commands(block):
    commands = ("docker ", "wsl ", "winget ", "curl.exe ", "Invoke-RestMethod ", "[Environment]::", "$env:")
    assert all(line.startswith(commands) for line in block.text.splitlines())


@in_languages("json")
def test_json_is_an_answer_of_the_service(block):
    shown = json.loads(block.text)
    assert shown.keys() in [answer.keys() for answer in ANSWERS.values()]


@in_languages("python")
def test_python_is_valid(block):
    ast.parse(block.text)


@in_languages("ini")
def test_ini_is_valid(block):
    assert configparser.ConfigParser(interpolation=None).read_string(block.text) is None


@in_languages("yaml")
def test_overlays_build_on_folders_that_exist(block):
    document = yaml.safe_load(without_placeholders(block.text.partition("\n")[2]))
    folder = ROOT / Path(block.text.splitlines()[0].removeprefix("# ")).parent
    parts = [part for key in ("resources", "components", "transformers") for part in document.get(key, [])]
    assert document["kind"] == "Kustomization" and parts
    for part in parts:
        assert (folder / part).resolve().is_dir(), part


def options_used() -> set[tuple[str, str]]:
    """Find the options of every command of ``ml`` in the documentation, with the command."""
    found = set()
    for name, arguments in COMMAND.findall(TEXT):
        module = MODULES.get(name, name)
        words = arguments.split()
        command = f"{module} {words[0]}" if words and f"{module} {words[0]}" in OPTIONS else module
        found |= {(command, option) for option in re.findall(r"(?<=[ \"'(])--[a-z][a-z-]+", f" {arguments}")}
    return found


def test_options_of_commands_exist():
    used = options_used()
    assert {("ml.train", "--exclude"), ("ml.registry publish", "--key"), ("ml.train", "--architecture")} <= used
    assert not {(command, option) for command, option in used if option not in OPTIONS.get(command, [])}


def test_variables_of_commands_are_read_by_the_code():
    set_in_commands = set(re.findall(r"\b([A-Z][A-Z_]{2,})=", TEXT))
    files = ["Makefile", "compose.yaml", *(f"scripts/{name}" for name in ("deploy", "minikube", "images"))]
    settings = {name for group in json.loads(GOLDEN.read_text()).values() for name in group}
    read = settings | set(re.findall(r"\b[A-Z][A-Z_]{2,}\b", "".join((ROOT / file).read_text() for file in files)))
    others = {name for name in set_in_commands - read if not name.startswith("MLFLOW_")}
    assert others <= {"MSYS_NO_PATHCONV", "OMP_NUM_THREADS", "NAME"}, "of Git Bash, of OpenMP, and any"
