"""MLflow is down, slow, answers 500 and 403, and comes back: every result is there once."""

import json
import time

import pytest
from mlflow import MlflowClient

from tests import monitor, servers
from tests.services.inference.serving import service
from tests.services.monitor import stubs

pytestmark = pytest.mark.faults

EXPERIMENT = "ill-and-well"
ERROR = {"error_code": "INTERNAL_ERROR", "message": "database is locked"}
DENIED = {"error_code": "PERMISSION_DENIED", "message": "Invalid Host header"}


class Way:
    """The way to a real MLflow server, which is ill in one chosen manner."""

    def __init__(self, target):
        self.mode = "well"
        self._relay = stubs.relay(target)

    def __call__(self, handler, body):
        match self.mode:
            case "well":
                self._relay(handler, body)
            case "slow":
                time.sleep(0.7)
                self._relay(handler, body)
            case "500":
                stubs.answer(handler, 500, ERROR)
            case "403":
                stubs.answer(handler, 403, DENIED)
            case "heard, not answered":
                self._relay(handler, body) if handler.command == "GET" else self._swallow(handler, body)

    def _swallow(self, handler, body):
        """The server does what it was asked, and the connection breaks before it can say so."""
        sink = handler.wfile
        handler.wfile = open("/dev/null", "wb")  # noqa: PTH123, SIM115 - closed below
        try:
            self._relay(handler, body)
        finally:
            handler.wfile.close()
            handler.wfile = sink
            handler.close_connection = True


def check(running, address, spool):
    """One run of the monitor, as a process of its own."""
    settings = {"PREDICT_URL": running.address, "MLFLOW_TRACKING_URI": address, "SPOOL_DIR": str(spool)}
    found = monitor.run(**settings, MLFLOW_EXPERIMENT_NAME=EXPERIMENT, TRACKING_TIMEOUT=3)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_the_monitors_results_are_in_mlflow_once_each(bundle, tmp_path, mlflow_address):
    way, port, spool = Way(mlflow_address), servers.free_port(), tmp_path / "spool"
    address = f"http://127.0.0.1:{port}"
    with service(tmp_path, MODEL_DIR=bundle, WORKERS=1) as running:
        results = [check(running, address, spool)]
        assert "cannot be reached" in results[0]["delivery"][0]
        with stubs.serving(way, port):
            for way.mode, words in (
                ("slow", "TRACKING_TIMEOUT"),
                ("500", "see the server's log"),
                ("403", "answers 403"),
                ("heard, not answered", "cannot be reached"),
            ):
                results.append(check(running, address, spool))
                assert words in results[-1]["delivery"][0], (way.mode, results[-1]["delivery"])
            assert len(list(spool.glob("*.json"))) >= 4, "the slow server had time for one at most"
            way.mode = "well"
            for _ in range(2):
                results.append(check(running, address, spool))
            assert results[-1]["delivery"] == []
    assert not list(spool.glob("*.json"))
    client = MlflowClient(mlflow_address)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert sorted(run.data.tags["result_id"] for run in runs) == sorted(result["result_id"] for result in results)
    for run in runs:
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "post_deploy_predict_success")
        assert [metric.value for metric in history] == [1.0]
