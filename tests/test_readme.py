"""The documentation names files, commands, settings and objects that exist."""

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from services.inference.settings import Settings
from tests.documentation import TEXT, TEXTS
from tests.servers import ROOT

SERVING = TEXTS[Path("docs/serving.md")]
OVERLAY = "kustomize/overlays/minikube"
# Created and deleted by the commands of the documentation.
TEMPORARY = {("monitoring", "job", "post-deploy-accuracy-now"), ("monitoring", "configmap", "labelled-images")}


@functools.cache
def cluster() -> set[tuple[str, str, str]]:
    """Namespace, kind and name of every object of the overlay."""
    rendered = subprocess.run(["kubectl", "kustomize", OVERLAY], cwd=ROOT, check=True, capture_output=True, text=True)
    objects = yaml.safe_load_all(rendered.stdout)
    return {(o["metadata"].get("namespace", ""), o["kind"].lower(), o["metadata"]["name"]) for o in objects}


@functools.cache
def tracked() -> set[str]:
    """Files and folders of a clone; files that a run leaves behind are not among them."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return {str(parent) for name in names for parent in (Path(name), *Path(name).parents)}


def settings_table() -> str:
    """Format the settings of the service as the documentation must list them."""
    rows = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = f"`{field.default}`" if field.default and not field.default_factory else ""
        rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_settings_table_is_complete():
    shown = SERVING.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    assert shown.strip() == settings_table(), f"put this between the marks:\n{settings_table()}"


def test_make_verbs_exist():
    verbs = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"(?:^|`|=\S+ )make ([a-z-]+)", TEXT, re.MULTILINE))
    assert {"up", "test", "train", "data", "demo", "minikube", "deploy", "labelled-images"} <= used <= verbs


def anchors(text: str) -> set[str]:
    """List the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def links(text: str) -> Iterator[tuple[str, str]]:
    """Yield path and anchor of every link within the repository."""
    for target in re.findall(r"(?:\]\(|<img src=\")([^)\"]+)[)\"]", text):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", sorted(name for name in tracked() if name.endswith(".md")))
def test_links_resolve(page):
    for path, anchor in links((ROOT / page).read_text(encoding="utf-8")):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("page", sorted(TEXTS.keys() - {Path("SECURITY.md")}), ids=str)
def test_page_begins_with_its_purpose(page):
    title, _, rest = TEXTS[page].partition("\n\n")
    assert title.startswith("# ") and "\n" not in title
    assert re.match(r"[A-Z0-9*`[]", rest), "a sentence comes before tables, lists and code"


def test_guides_are_linked_from_the_readme():
    linked = {path for path, _ in links(TEXTS[Path("README.md")])}
    assert {str(page) for page in TEXTS if page.parent == Path("docs")} - linked <= {"docs/licences.md"}


def test_decisions_are_listed_with_their_numbers():
    listed = re.findall(r"^\| \[(\d{4})\]\((\1-[\w-]+\.md)\)", TEXTS[Path("docs/adr/README.md")], re.MULTILINE)
    records = sorted(page.name for page in TEXTS if page.parent == Path("docs/adr") and page.name != "README.md")
    assert [name for _, name in listed] == records
    for number, name in listed:
        assert TEXTS[Path("docs/adr") / name].startswith(f"# {int(number)}. ")


def test_named_files_exist():
    folders = r"(?:\.github|benchmarks|bundle|docs|kustomize|ml|models|scripts|services|tests)"
    examples = re.compile(r"[^\s`]+<\w+>[^\s`]*")  # with a part that the reader chooses
    named = set(re.findall(rf"(?<![\w./(-]){folders}/[\w./-]*\w", examples.sub("", TEXT)))
    assert {"kustomize/overlays/minikube", "scripts/deploy"} <= named
    assert not {name for name in named - tracked() if not name.startswith("kustomize/overlays/mine")}  # an example
    for script in re.findall(r"\bsh (scripts/\w+)", TEXT):
        assert os.access(ROOT / script, os.X_OK), script


def test_modules_that_are_run_exist():
    modules = set(re.findall(r"python -m ([a-z_.]*[a-z_])", TEXT))
    assert {"ml.train", "ml.registry"} <= modules
    for module in modules:
        path = module.replace(".", "/")
        assert tracked() & {f"{path}.py", f"{path}/__main__.py"}, module


def test_named_cluster_objects_are_in_the_overlay():
    named = re.findall(r"kubectl -n (\S+) [^`\n]*?[ =]([a-z]+)/([a-z][\w-]+)", TEXT)
    named += [(space, "service", name) for name, space in re.findall(r"minikube service (\S+) -n (\S+)", TEXT)]
    assert {kind for _, kind, _ in named} >= {"service", "deployment", "cronjob", "serviceaccount"}
    assert set(named) <= cluster() | TEMPORARY
    for name, port in re.findall(r"`([a-z]+)` (\d{4})", TEXT):
        service = (ROOT / f"kustomize/base/{name}/service.yaml").read_text()
        assert yaml.safe_load(service)["spec"]["ports"][0]["port"] == int(port), name


def test_pixels_of_a_pod_are_those_of_the_deployment():
    deployment = yaml.safe_load((ROOT / "kustomize/base/inference/deployment.yaml").read_text())
    settings = {one["name"]: one.get("value") for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    megapixels = f"to {int(settings['MAX_PIXELS']) // 1_000_000} megapixels"
    for page in ("docs/cluster.md", "docs/reliability.md"):
        assert megapixels in TEXTS[Path(page)]


def test_queries_are_valid(tmp_path):
    queries = [q for block in re.findall(r"```promql\n(.*?)```", TEXT, re.DOTALL) for q in block.splitlines()]
    assert {"sum(request_count_total)", "sum by (endpoint) (request_count_total)"} <= set(queries)
    rules = [{"record": f"q{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "docs", "rules": rules}]}))
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt install prometheus"
    done = subprocess.run([promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_routes_and_statuses_are_complete():
    described = json.loads((ROOT / "tests/contract/golden/openapi.json").read_text())["paths"]
    shown = set(re.findall(r"^\| `(?:GET|POST) (/\S*)`", SERVING, re.MULTILINE))
    assert shown == set(described) - {"/openapi.json"}
    statuses = set(re.findall(r"^\| (\d{3}) \|", SERVING, re.MULTILINE))
    responses = set(described["/predict"]["post"]["responses"])
    # The golden file was recorded without API keys and without a rate limit.
    assert statuses == {code for code in responses if code[0] == "4"} | {"401", "429", "503"}
