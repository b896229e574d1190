"""scripts/deploy: refusals before it touches the cluster."""

import shutil

import pytest

from tests import servers


@pytest.mark.parametrize("tag", ["", "latest", "with space", "../up", "a:b", "-x", "a\nb", "x" * 129])
def test_wrong_tag_is_refused(desk, tag):
    code, printed = desk.deploy(tag)
    assert code == 2, printed
    assert "tag" in printed
    assert desk.cluster.changes == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"REGISTRY": "ghcr.io/ow ner"}, "REGISTRY=ghcr.io/ow ner"),
        ({"REGISTRY": "ghcr.io/owner\n-x"}, "REGISTRY=ghcr.io/owner"),
        ({"REPOSITORY_URL": 'github.com/"'}, 'REPOSITORY_URL=github.com/"'),
        ({"OVERLAY": "kustomize/overlays/moon"}, "OVERLAY=kustomize/overlays/moon"),
        ({"OVERLAY": "/etc"}, "OVERLAY=/etc"),
        ({"OVERLAY": "kustomize/base/grafana"}, "inference"),
        ({"TIMEOUT": "soon"}, "TIMEOUT"),
        ({"MLFLOW_PORT": "http"}, "MLFLOW_PORT=http"),
        ({"CONTEXT": "moon"}, "no cluster answers in context moon"),
    ],
)
def test_wrong_setting_is_refused(desk, settings, named):
    code, printed = desk.deploy("v1", **settings)
    assert code == 2, printed
    assert named in printed
    assert desk.cluster.changes == []


def test_usage_is_printed_without_a_tag(desk):
    code, printed = desk.deploy()
    assert code == 2
    assert "usage: scripts/deploy [TAG] [--model VERSION]" in printed and "exit codes:" in printed


@pytest.mark.parametrize(("key", "named"), [("key\r\n", "no cluster answers"), ("two\nkeys\n", "must hold one key")])
def test_key_file_holds_one_key_with_any_line_end(desk, tmp_path, key, named):
    (tmp_path / "key").write_bytes(key.encode())
    code, printed = desk.deploy("v1", PREDICT_API_KEY_FILE=str(tmp_path / "key"), CONTEXT="moon")
    assert code == 2, printed
    assert named in printed


@pytest.mark.parametrize("tool", ["kubectl", "curl"])
def test_missing_tool_is_named(desk, tool):
    needed = {
        "cat",
        "chmod",
        "cp",
        "date",
        "dirname",
        "grep",
        "mkdir",
        "mktemp",
        "rm",
        "sed",
        "sh",
        "sort",
        "tail",
        "tr",
    }
    for name in (needed | {"curl"}) - {tool}:
        (desk.bin / name).symlink_to(shutil.which(name) or name)
    if tool == "kubectl":
        (desk.bin / "kubectl").unlink()
    code, printed = desk.deploy("v1", PATH=str(desk.bin))
    assert code == 2, printed
    assert f"{tool} is not installed: https://" in printed


def test_cluster_that_does_not_answer_is_named(desk, tmp_path):
    nowhere = desk.kubeconfig(tmp_path / "nowhere", f"http://127.0.0.1:{servers.free_port()}")
    code, printed = desk.deploy("v1", KUBECONFIG=str(nowhere))
    assert code == 2, printed
    assert "no cluster answers. Is it started?" in printed
