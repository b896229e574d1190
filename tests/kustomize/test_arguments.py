"""The arguments of the containers, given to the real programs."""

import pytest

from tests import servers
from tests.kustomize import manifests
from tests.prometheus import binary


@pytest.mark.parametrize(
    ("name", "programs"),
    [("prometheus", ["prometheus"]), ("pushgateway", ["prometheus-pushgateway", "pushgateway"])],
)
def test_they_are_understood(minikube, tmp_path, name, programs):
    container = manifests.workload(minikube, name).container
    for mount in container["volumeMounts"]:
        (tmp_path / mount["mountPath"].strip("/")).mkdir(parents=True)
    # Its own looks for a cluster around it.
    (tmp_path / "etc" / "prometheus").mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc" / "prometheus" / "prometheus.yml").write_text("{}")
    port = servers.free_port()
    args = [arg.replace("=/", f"={tmp_path}/") for arg in container["args"]]
    command = [binary(*programs), *args, f"--web.listen-address=127.0.0.1:{port}"]
    log = tmp_path / "log"
    with servers.running(command, log) as process:
        for probe in ("readinessProbe", "livenessProbe"):
            path = container[probe]["httpGet"]["path"]
            servers.wait_for(f"http://127.0.0.1:{port}{path}", process, log)
