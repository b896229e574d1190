"""MLflow while a command runs, as in ``make train``."""

import signal
import sys

import pytest

from tests.scripts.launching import launched

TRACK = """
import os, pathlib, sys, mlflow
os.chdir(sys.argv[1])
pathlib.Path("note.txt").write_text("kept")
with mlflow.start_run():
    mlflow.log_artifact("note.txt")
print("logged to", os.environ["MLFLOW_TRACKING_URI"], "without", os.environ["NO_PROXY"], os.environ["no_proxy"])
sys.exit(7)
"""

WAIT = """
import signal, sys, time
received = []
signal.signal(signal.SIGINT, lambda number, _frame: received.append(number))
print("waiting", flush=True)
while not received:
    time.sleep(0.05)
time.sleep(0.5)
print("received", received, flush=True)
sys.exit(3)
"""


def with_mlflow(tmp_path, code, **settings):
    command = (sys.executable, "-c", code, str(tmp_path))
    return launched(tmp_path, "--only", "mlflow", "--", *command, **settings)


def test_command_has_mlflow_and_its_exit_code_is_returned(tmp_path):
    with with_mlflow(tmp_path, TRACK) as up:
        assert up.wait() == 7
        assert f"logged to {up.mlflow}" in up.printed
        assert up.left() == []
    # The artifact went through the server to the folder of make up's server.
    (kept,) = (tmp_path / "state" / "mlflow" / "artifacts").rglob("note.txt")
    assert kept.read_text() == "kept"


@pytest.mark.parametrize("by", ["port", "variable"])
def test_server_that_runs_is_used_past_the_proxy(tmp_path, mlflow_address, by):
    port = mlflow_address.rpartition(":")[2]
    setting = {"MLFLOW_PORT": port} if by == "port" else {"MLFLOW_TRACKING_URI": mlflow_address}
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    with with_mlflow(tmp_path, TRACK, NO_PROXY="example.com", **proxies, **setting) as up:
        assert up.wait() == 7
        exempt = "example.com,127.0.0.1,localhost"
        assert f"logged to {mlflow_address} without {exempt} {exempt}" in up.printed
        assert ("MLflow runs already" in up.printed) is (by == "port")
    assert not (tmp_path / "state" / "logs").exists()


def test_address_of_the_variable_is_printed_without_its_password(tmp_path):
    address = "http://me:secret@mlflow.example:5000"  # pragma: allowlist secret
    command = ("sh", "-c", 'test "$MLFLOW_TRACKING_URI" = "$0" || echo changed', address)
    with launched(tmp_path, "--only", "mlflow", "--", *command, MLFLOW_TRACKING_URI=address) as up:
        assert up.wait() == 0
        assert up.printed == "Using MLflow at http://mlflow.example:5000\n"


def test_ctrl_c_reaches_the_command_once(tmp_path, mlflow_address):
    with with_mlflow(tmp_path, WAIT, MLFLOW_TRACKING_URI=mlflow_address) as up:
        up.wait_for("waiting\n")
        assert up.end(signal.SIGINT) == 3
        assert f"received [{signal.SIGINT:d}]" in up.printed
        assert up.left() == []


@pytest.mark.parametrize(
    ("command", "code", "printed"),
    [
        (["no-such-command"], 127, "no-such-command cannot be run (No such file or directory)."),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM, ""),
    ],
)
def test_command_that_fails_has_the_exit_code_of_a_shell(tmp_path, mlflow_address, command, code, printed):
    with launched(tmp_path, "--only", "mlflow", "--", *command, MLFLOW_TRACKING_URI=mlflow_address) as up:
        assert up.wait() == code
        assert printed in up.printed
