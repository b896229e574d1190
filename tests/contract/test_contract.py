"""Compare what users see with golden files; ``pytest tests/contract --update-golden`` rewrites them.
Name each change of a golden file in CHANGELOG.md."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bundle.manifest import Manifest
from tests import bundles, servers
from tests.contract.probe import KEY, image

TYPES = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
GUNICORN = ("-m", "gunicorn", "-c", "services/inference/gunicorn.conf.py", "services.inference.app:create_app()")


def run(*command: str, status: int = 0, **settings: object) -> "subprocess.CompletedProcess[str]":
    env = servers.environment() | {"COLUMNS": "200"} | {name: str(value) for name, value in settings.items()}
    done = subprocess.run(command, cwd=servers.ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    return done


def probe(kind: str, **settings: object) -> Any:
    return json.loads(run(sys.executable, "-m", "tests.contract.probe", kind, **settings).stdout)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"tester:{KEY}\n")
    return file


@pytest.fixture(scope="module")
def answers(tmp_path_factory, keys):
    """Collect answers of the app, by Flask's test client."""
    folder = tmp_path_factory.mktemp("app")
    bundle = bundles.write(folder / "bundle", fragile=True)
    (folder / "metrics").mkdir()
    (folder / "drain").touch()
    limits = {"MAX_UPLOAD_BYTES": 50_000, "MAX_PICTURES": 2, "MAX_IN_FLIGHT": 1}
    limits |= {"MODEL_DIR": bundle, "PROMETHEUS_MULTIPROC_DIR": folder / "metrics"}
    restrictions = {"API_KEYS_FILE": keys, "RATE_LIMIT": "1/day", "DRAIN_FILE": folder / "drain"}
    restrictions |= {"MODEL_DIR": folder / "missing", "PROMETHEUS_MULTIPROC_DIR": folder / "metrics"}
    return probe("open", **limits) | probe("restricted", **restrictions)


@pytest.fixture(scope="module")
def helps():
    """Collect the help texts of all commands and sub-commands."""
    return probe("helps")


def shape(value: Any) -> Any:
    """Replace values by their JSON types, and names of classes by one name."""
    if isinstance(value, dict):
        return {"<class>" if key in bundles.CLASSES else key: shape(each) for key, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) else TYPES[type(value)]


def test_openapi_unchanged(answers, golden):
    golden("openapi", answers["openapi"]["json"])


def test_problems_unchanged(answers, golden):
    telling = ("Allow", "Retry-After", "WWW-Authenticate")
    found = {}
    for name, answer in answers.items():
        if answer["status"] >= 400:
            headers = [header for header in telling if header in answer["headers"]]
            found[name] = " ".join([str(answer["status"]), answer["json"]["type"], *headers])
    golden("problems", found)


def test_answers_unchanged(answers, golden):
    names = ("health", "ready", "one image", "several images", "image as the body", "explanation")
    problems = ("not an image", "one broken image of several")
    golden("answers", {name: shape(answers[name]["json"]) for name in names + problems})


def test_metrics_and_log_lines_unchanged(keys, tmp_path, golden):
    port = servers.free_port()
    address, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    settings = {"PORT": str(port), "WORKERS": "1", "API_KEYS_FILE": str(keys), "GRACEFUL_TIMEOUT": "1"}
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/png"}
    with servers.running([sys.executable, *GUNICORN], log, settings) as process:
        servers.wait_for(f"{address}/health", process, log)
        asked = {
            "prediction with an API key": requests.post(f"{address}/predict", image(), headers=headers, timeout=30),
            "unknown path": requests.get(f"{address}/nothing", timeout=30),
        }
        text = requests.get(f"{address}/metrics", timeout=30).text
    assert [response.status_code for response in asked.values()] == [200, 404]
    metrics = {
        sample.name: " ".join([family.type, *sorted(sample.labels)])
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    golden("metrics", metrics)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    by_id = {line["request_id"]: sorted(line) for line in lines if "request_id" in line}
    golden("log_fields", {name: by_id[response.headers["X-Request-ID"]] for name, response in asked.items()})


def test_make_verbs_unchanged(golden):
    golden("make_verbs", sorted(re.findall(r"^  make (\S+)", run("make", "help").stdout, re.MULTILINE)))


def test_command_line_options_unchanged(helps, golden):
    found = {}
    for command, text in helps.items():
        options = " ".join(re.findall(r"^ {2}(-\S.*?)(?: {2,}|$)", text, re.MULTILINE))
        found[command] = sorted(re.findall(r"(?<!\S)--[a-z][\w-]*", options))
    golden("command_line_options", found)


def test_settings_unchanged(helps, golden):
    """Compare environment variables and their defaults."""
    texts = [file.read_text(encoding="utf-8") for file in (servers.ROOT / "README.md", *servers.ROOT.glob("docs/*.md"))]
    (table,) = re.findall(r"<!-- settings -->(.*?)<!-- /settings -->", "".join(texts), re.DOTALL)
    found = {"inference": dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", table, re.MULTILINE))}
    for name, command in (("monitor", "services.monitor"), ("make up", "scripts.up")):
        text = helps[command].partition("settings (")[2]
        described = re.findall(r"^  ([A-Z][A-Z_]+) +(.*(?:\n {10,}.*)*)", text, re.MULTILINE)
        default = re.compile(r"(\S+) \(default\)|default: (?!not set)(\S+?)\.?(?:\s|$)")
        found[name] = {key: "".join("".join(pair) for pair in default.findall(text)) for key, text in described}
    golden("settings", found)


def test_deploy_exit_codes_unchanged(golden):
    """Compare the documented codes; tests/scripts provokes each."""
    usage = run("scripts/deploy", status=2).stderr
    golden("deploy_exit_codes", re.findall(r"\d+", " ".join(re.findall(r"^  ([\d, ]+)  ", usage, re.MULTILINE))))


def container(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": spec["name"],
        "image": re.sub(r"(:[^/:]*)?(@.*)?$", "", spec["image"]),
        "ports": [port["containerPort"] for port in spec.get("ports", [])],
        # Of a value from elsewhere, its kind: names of Secrets end in a hash.
        "env": {entry["name"]: entry.get("value", list(entry.get("valueFrom", ""))) for entry in spec.get("env", [])},
    }


def test_overlay_unchanged(golden):
    found: dict[str, Any] = {}
    for thing in yaml.safe_load_all(run("kubectl", "kustomize", "kustomize/overlays/minikube").stdout):
        name, spec = thing["metadata"]["name"], thing.get("spec", {})
        if thing["kind"] in ("ConfigMap", "Secret"):
            name = re.sub(r"-[a-z0-9]{10}$", "", name)
        about = found[f"{thing['kind']} {thing['metadata'].get('namespace', '')}/{name}"] = {}
        if thing["kind"] == "Service":
            about["type"] = spec.get("type", "ClusterIP")
            about["ports"] = [port["port"] for port in spec["ports"]]
        about |= {"schedule": spec["schedule"]} if "schedule" in spec else {}
        template = spec.get("jobTemplate", thing).get("spec", {}).get("template")
        if template:
            parts = template["spec"].get("initContainers", []) + template["spec"]["containers"]
            about["containers"] = [container(part) for part in parts]
    golden("overlay", found)


def test_manifest_schema_unchanged(golden):
    schema = Manifest.model_json_schema()

    def plain(node: Any) -> Any:
        """Put definitions where they are used, without the texts and names that only people read."""
        if isinstance(node, list):
            return [plain(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(schema["$defs"][node["$ref"].rpartition("/")[2]])
        texts = [key for key in ("description", "title") if isinstance(node.get(key), str)]
        found = {key: plain(value) for key, value in node.items() if key not in ("$defs", *texts)}
        return found | {"required": sorted(node["required"])} if "required" in node else found

    golden("manifest_schema", plain(schema))
