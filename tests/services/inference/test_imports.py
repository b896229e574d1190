"""The services start fast and small: they import no training library."""

import json
import subprocess
import sys

import pytest

from tests import servers

TRAINING = {"torch", "torchvision", "ml"}
LARGE = {"mlflow", "onnx", "pandas", "scipy", "sklearn", "matplotlib"}
CODE = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(("__main__", "gunicorn.conf")):
        importlib.import_module(module.name)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    ("package", "needed", "forbidden"),
    [
        ("services.inference", {"flask", "onnxruntime", "PIL"}, TRAINING | LARGE),
        ("services.monitor", {"mlflow"}, TRAINING),
    ],
)
def test_service_imports_no_training_library(package, needed, forbidden, tmp_path):
    env = servers.environment() | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", CODE, package]
    output = subprocess.run(command, cwd=servers.ROOT, env=env, capture_output=True, text=True, check=True).stdout
    names = set(json.loads(output))
    assert needed <= names
    assert not names & forbidden
