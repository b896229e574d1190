"""The containers' arguments, given to the real programs."""

import pytest

from tests import servers
from tests.kustomize import manifests
from tests.prometheus import binary


@pytest.mark.parametrize(
    ("name", "programs"),
    [("prometheus", ["prometheus"]), ("pushgateway", ["prometheus-pushgateway", "pushgateway"])],
)
def test_arguments_start_the_program_and_probes_pass(minikube, tmp_path, name, programs):
    container = manifests.workload(minikube, name).container
    for mount in container["volumeMounts"]:
        (tmp_path / mount["mountPath"].strip("/")).mkdir(parents=True)
    if name == "prometheus":  # its own configuration needs a cluster
        (tmp_path / "etc" / "prometheus" / "prometheus.yml").write_text("{}")
    port = servers.free_port()
    args = [arg.replace("=/", f"={tmp_path}/") for arg in container["args"]]
    log = tmp_path / "log"
    with servers.running([binary(*programs), *args, f"--web.listen-address=127.0.0.1:{port}"], log) as process:
        for probe in ("readinessProbe", "livenessProbe"):
            servers.wait_for(f"http://127.0.0.1:{port}{container[probe]['httpGet']['path']}", process, log)
