"""The services start fast and small: what they import is checked, not hoped."""

import json
import os
import subprocess
import sys

import pytest

from tests.servers import ROOT

TRAINING = {"torch", "torchvision", "ml"}
CODE = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(("__main__", "gunicorn.conf")):
        importlib.import_module(module.name)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def imported_by(package, tmp_path):
    """Top-level names of all modules that are there once every module of the package is."""
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", CODE, package]
    output = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    return set(json.loads(output))


@pytest.mark.parametrize(
    ("package", "needs", "forbidden"),
    [
        (
            "services.inference",
            {"flask", "onnxruntime", "PIL"},
            TRAINING | {"mlflow", "onnx", "pandas", "scipy", "sklearn", "matplotlib"},
        ),
        ("services.monitor", {"mlflow"}, TRAINING),
    ],
)
def test_a_service_imports_no_training_library(package, needs, forbidden, tmp_path):
    names = imported_by(package, tmp_path)
    assert needs <= names
    assert not names & forbidden


def test_the_monitor_knows_the_service_by_http_only(tmp_path):
    code = CODE.replace('.split(".")[0]', "")
    command = [sys.executable, "-c", code, "services.monitor"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [name for name in json.loads(output) if name.startswith("services.inference")]
