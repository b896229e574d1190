"""MLflow for the time of one command, as ``make train`` has it."""

import os
import signal
import subprocess
import sys

import pytest

from tests import servers
from tests.scripts.launching import environment, launched

TRACK = """
import os, pathlib, sys, mlflow
pathlib.Path("note.txt").write_text("kept")
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5)
    mlflow.log_artifact("note.txt")
print("logged to", os.environ["MLFLOW_TRACKING_URI"], flush=True)
sys.exit(7)
"""

WAIT = """
import signal, sys, time
def end(number, _frame):
    received.append(number)
received = []
signal.signal(signal.SIGINT, end)
print("waiting", flush=True)
while not received:
    time.sleep(0.05)
time.sleep(0.5)
print("received", received, flush=True)
sys.exit(3)
"""


def only_mlflow(tmp_path, env, code):
    script = tmp_path / "command.py"
    script.write_text(f"import os\nos.chdir({str(tmp_path)!r})\n{code}")
    return launched(tmp_path, env, "--only", "mlflow", "--", sys.executable, str(script))


def test_a_command_has_mlflow_while_it_runs_and_its_exit_code_comes_back(tmp_path):
    env = environment(tmp_path)
    with only_mlflow(tmp_path, env, TRACK) as up:
        assert up.wait(120) == 7
        assert f"logged to http://127.0.0.1:{env['MLFLOW_PORT']}" in up.printed
    assert up.left() == []
    # The artifact went through the server to the place where make up's server has it too.
    (kept,) = (tmp_path / "state" / "mlflow" / "artifacts").rglob("note.txt")
    assert kept.read_text() == "kept"


def test_ctrl_c_reaches_the_command_once_and_mlflow_ends_after_it(tmp_path):
    with only_mlflow(tmp_path, environment(tmp_path), WAIT) as up:
        up.wait_for("waiting\n")
        # As a terminal does it: the whole foreground group gets the signal.
        os.killpg(up.process.pid, signal.SIGINT)
        assert up.wait(60) == 3
        assert f"received [{signal.SIGINT:d}]" in up.printed
    assert up.left() == []


def test_a_proxy_of_the_company_is_not_asked_for_this_machine(tmp_path, mlflow_address):
    nowhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    env = environment(tmp_path, MLFLOW_PORT=mlflow_address.rpartition(":")[2], NO_PROXY="example.com", **nowhere)
    code = "import os\nprint(os.environ['NO_PROXY'], os.environ['no_proxy'])" + TRACK
    with only_mlflow(tmp_path, env, code) as up:
        assert up.wait(60) == 7
        assert "example.com,127.0.0.1,localhost example.com,127.0.0.1,localhost\n" in up.printed


@pytest.mark.parametrize("by", ["port", "variable"])
def test_a_server_that_is_up_is_used_and_left_running(tmp_path, mlflow_address, by):
    port = mlflow_address.rpartition(":")[2]
    setting = {"MLFLOW_PORT": port} if by == "port" else {"MLFLOW_TRACKING_URI": mlflow_address}
    with only_mlflow(tmp_path, environment(tmp_path, **setting), TRACK) as up:
        assert up.wait(60) == 7
        assert f"logged to {mlflow_address}" in up.printed
    assert not (tmp_path / "state" / "logs").exists()


def test_the_port_of_make_up_is_where_the_commands_look_too(tmp_path):
    env = environment(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "ml.registry", "list"],
        cwd=servers.ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert f"MLflow at http://127.0.0.1:{env['MLFLOW_PORT']} does not answer" in done.stdout + done.stderr


def test_a_command_that_does_not_exist_is_named(tmp_path, mlflow_address):
    env = environment(tmp_path, MLFLOW_TRACKING_URI=mlflow_address)
    with launched(tmp_path, env, "--only", "mlflow", "--", "no-such-command") as up:
        assert up.wait(30) == 127
        assert "no-such-command cannot be run (No such file or directory)." in up.printed


def test_a_command_that_a_signal_ends_has_the_shells_exit_code(tmp_path, mlflow_address):
    env = environment(tmp_path, MLFLOW_TRACKING_URI=mlflow_address)
    with launched(tmp_path, env, "--only", "mlflow", "--", "sh", "-c", "kill -TERM $$") as up:
        assert up.wait(30) == 128 + signal.SIGTERM
