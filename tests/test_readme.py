"""The README is a contract: what it names is there, and what it lists is what the code has."""

import functools
import os
import re
import shutil
import subprocess
from dataclasses import MISSING, fields
from pathlib import Path

import yaml

from services.inference.settings import Settings
from tests import bundles
from tests.servers import ROOT
from tests.services.inference.serving import service

README = (ROOT / "README.md").read_text()
VERBS = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
OVERLAY = "kustomize/overlays/minikube"
# What comes and goes in the cluster by the README's own commands.
MADE_BY_HAND = {("monitoring", "job", "post-deploy-accuracy-now"), ("monitoring", "configmap", "labelled-images")}


@functools.cache
def cluster() -> set[tuple[str, str, str]]:
    """Namespace, kind and name of everything that the overlay brings."""
    rendered = subprocess.run(["kubectl", "kustomize", OVERLAY], cwd=ROOT, check=True, capture_output=True, text=True)
    objects = yaml.safe_load_all(rendered.stdout)
    return {(o["metadata"].get("namespace", ""), o["kind"].lower(), o["metadata"]["name"]) for o in objects}


def settings_table() -> str:
    """The settings of the service, as the README must show them."""
    rows = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for setting in fields(Settings):
        default = "" if setting.default is MISSING else f"`{setting.default}`"
        rows.append(f"| `{setting.name.upper()}` | {default} | {setting.metadata['about']} |")
    return "\n".join(rows)


def test_the_table_of_settings_is_what_the_service_reads() -> None:
    shown = README.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    assert shown.strip() == settings_table(), f"put this between the marks:\n{settings_table()}"


def test_every_make_verb_exists() -> None:
    used = set(re.findall(r"(?:^|`|=\S+ )make ([a-z-]+)", README, re.MULTILINE))
    assert {"up", "test", "train", "data", "demo", "minikube", "deploy", "labelled-images"} <= used
    assert used <= VERBS


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^a-z -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            file = ROOT / (path or "README.md")
            assert file.exists(), target
            assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


def test_it_stays_short_enough_to_be_read() -> None:
    assert len(README.encode()) < 25_000


def test_every_file_and_folder_that_is_named_exists() -> None:
    named = set(re.findall(r"(?<![\w./-])(?:\.github|docs|kustomize|models|scripts|services|tests)/[\w./-]*\w", README))
    assert {"kustomize/overlays/minikube", "scripts/deploy"} <= named
    # Files that only a run leaves behind would not be in a clone.
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    there = {str(parent) for name in tracked for parent in (Path(name), *Path(name).parents)}
    assert named <= there
    for script in re.findall(r"\bsh (scripts/\w+)", README):
        assert os.access(ROOT / script, os.X_OK), script


def test_everything_in_the_cluster_that_is_named_is_in_the_overlay() -> None:
    asked = re.findall(r"kubectl -n (\S+) [^`\n]*?\b([a-z]+)/([a-z][\w-]+)", README)
    asked += [(space, "service", name) for name, space in re.findall(r"minikube service (\S+) -n (\S+)", README)]
    assert {kind for _, kind, _ in asked} >= {"service", "deployment", "cronjob", "serviceaccount"}
    assert set(asked) <= cluster() | MADE_BY_HAND
    for name, port in re.findall(r"`([a-z]+)` (\d{4})", README):
        service = (ROOT / f"kustomize/base/{name}/service.yaml").read_text()
        assert yaml.safe_load(service)["spec"]["ports"][0]["port"] == int(port), name


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    queries = [q for block in re.findall(r"```promql\n(.*?)```", README, re.DOTALL) for q in block.splitlines()]
    assert {"sum(request_count_total)", "sum by (endpoint) (request_count_total)"} <= set(queries)
    rules = [{"record": f"q{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "readme", "rules": rules}]}))
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt install prometheus"
    done = subprocess.run([promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_module_that_is_run_exists() -> None:
    modules = set(re.findall(r"python -m ([a-z_.]+)", README))
    assert {"ml.train", "ml.registry"} <= modules
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_the_routes_and_statuses_are_what_the_service_describes(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("someone:a-key-of-the-tests\n")
    settings = {"MODEL_DIR": bundles.write(tmp_path / "bundle"), "API_KEYS_FILE": keys, "RATE_LIMIT": "60/minute"}
    with service(tmp_path, **settings) as running:
        described = running.get("/openapi.json").json()["paths"]
    shown = set(re.findall(r"^\| `(?:GET|POST) (/\S*)`", README, re.MULTILINE))
    assert shown == set(described) - {"/openapi.json"}
    statuses = set(re.findall(r"^\| (\d{3}) \|", README, re.MULTILINE))
    assert statuses == {code for code in described["/predict"]["post"]["responses"] if code[0] == "4" or code == "503"}
