"""scripts/minikube, with stand-ins for Docker and minikube that log their arguments."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import servers
from tests.scripts.desk import CHAMPION, INFERENCE, VERSION, Desk

# Each fails at arguments that the script does not use.
DOCKER = """#!/bin/sh
echo "docker $*" >>{notes}
case $* in
  info | "build --"*" --target "*) ;;
  "save localhost/mlops/"*:*) echo "archive of $2" ;;
  *) echo "unknown: docker $*" >&2; exit 64 ;;
esac
"""
MINIKUBE = """#!/bin/sh
echo "minikube $*" >>{notes}
case $* in
  "--profile minikube status") [ -f {notes}.runs ] ;;
  "--profile minikube start "*) touch {notes}.runs ;;
  "--profile minikube addons enable metrics-server") ;;
  "--profile minikube image load -") sed 's/^/loaded: /' >>{notes} ;;
  *) echo "unknown: minikube $*" >&2; exit 64 ;;
esac
"""
CALICO = "minikube --profile minikube start --driver docker --cni calico --cpus 2 --memory 4g"


class Laptop:
    """A clean clone with nothing running."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self.notes = folder / "notes"
        for name, text in {"docker": DOCKER, "minikube": MINIKUBE}.items():
            (desk.bin / name).write_text(text.format(notes=self.notes))
            (desk.bin / name).chmod(0o755)
        for name in ("minikube", "images"):
            shutil.copy2(servers.ROOT / "scripts" / name, desk.repository / "scripts")
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.desk.repository, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def run(self, **settings: str) -> tuple[int, str, list[str]]:
        """Return the exit code, the output, and the calls of Docker and minikube."""
        self.notes.write_text("")
        done = subprocess.run(
            ["sh", "scripts/minikube"],
            cwd=self.desk.repository,
            env=self.desk.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, self.notes.read_text().splitlines()

    def tag(self) -> str:
        return self.desk.running()[0].removeprefix(f"{INFERENCE}:")


@pytest.fixture
def laptop(desk, champion, tmp_path) -> Laptop:
    desk.nodes.write_text(json.dumps({"any image": {"port": champion.port, "bundle": str(CHAMPION)}}))
    return Laptop(desk, tmp_path)


def test_images_are_built_and_deployed_and_again_with_a_change(laptop):
    code, printed, asked = laptop.run()
    assert code == 0, printed
    tag = laptop.git("rev-parse", "--short=12", "HEAD")
    assert CALICO in asked
    for image in ("inference", "monitor", "model"):
        assert any(line.endswith(f"--target {image} --tag localhost/mlops/{image}:{tag} .") for line in asked)
        version = VERSION if image == "model" else tag
        assert f"loaded: archive of localhost/mlops/{image}:{version}" in asked
    assert laptop.tag() == tag
    assert laptop.desk.running_model() == VERSION
    for name, namespace in {"mlops-service": "mlops", "grafana": "monitoring", "prometheus": "monitoring"}.items():
        assert f"minikube service {name} -n {namespace} --url" in printed
        laptop.desk.cluster.get("services", namespace, name)
    assert "MLFLOW_HOST=0.0.0.0 make mlflow" in printed

    (laptop.desk.repository / "more.txt").touch()
    code, printed, asked = laptop.run(MLFLOW_PORT="5001")
    assert code == 0, printed
    assert "MLFLOW_HOST=0.0.0.0 MLFLOW_PORT=5001 make mlflow" in printed
    assert not any(" start " in line for line in asked)
    assert re.fullmatch(rf"{tag}-\d{{14}}", laptop.tag())


@pytest.mark.parametrize("tool", ["docker", "minikube", "kubectl"])
def test_missing_tool_is_named_with_its_installation(laptop, tool):
    # What the script needs before it looks for tools.
    for name in ("dirname", "sh"):
        (laptop.desk.bin / name).symlink_to(shutil.which(name) or name)
    (laptop.desk.bin / tool).unlink()
    code, printed, _ = laptop.run(PATH=str(laptop.desk.bin))
    assert code == 2, printed
    assert f"{tool} is not installed." in printed
    assert "winget install" in printed and "brew install" in printed and "https://" in printed


def test_docker_that_does_not_answer_is_named(laptop):
    (laptop.desk.bin / "docker").write_text("#!/bin/sh\nexit 1\n")
    code, printed, asked = laptop.run()
    assert code == 2, printed
    assert "docker is installed but does not answer" in printed
    assert asked == []


def test_failed_build_is_not_deployed(laptop):
    text = DOCKER.format(notes=laptop.notes).replace("case", '[ "$1" = info ] || exit 1\ncase')
    (laptop.desk.bin / "docker").write_text(text)
    assert laptop.run()[0] == 1
    assert laptop.desk.cluster.changes == []
