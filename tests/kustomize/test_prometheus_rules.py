"""The alerts: tested where they fire and where they nearly do, and explained in a runbook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import prometheus
from tests.kustomize import burn_rates, drift_windows, manifests
from tests.kustomize.prometheus_config import RUNBOOKS, queries, rules, static

FILES = sorted((Path(__file__).parent / "prometheus").glob("*.yml"))
DOCUMENTS = {alert: burn_rates.document(alert) for alert in burn_rates.BUDGETS} | {"drift": drift_windows.alerts()}
PAGES = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
REPOSITORY = "{{ $externalLabels.repository }}/blob/HEAD/"
JOBS = {"mlops-service": "pod:8000", "pushgateway": "pod:9091", "prometheus": "localhost:9090"}
DAYS = {"s": 1 / 86400, "m": 1 / 1440, "h": 1 / 24, "d": 1}
COMMAND = re.compile(r"kubectl -n (\w+) ([^\n`|]+)")

RULES = rules()
ALERTS = [
    pytest.param(rule, id="-".join([rule["alert"], *rule["labels"].values()])) for rule in RULES if "alert" in rule
]


def promtool(*arguments):
    done = subprocess.run([prometheus.binary("promtool"), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_and_rules_are_valid(tmp_path):
    promtool("check", "config", "--lint=all", "--lint-fatal", static(tmp_path, JOBS))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should(file):
    promtool("test", "rules", file)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_computed_alerts_fire_when_they_should(tmp_path, document):
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    promtool("test", "rules", tmp_path / "tests.yml")


@pytest.mark.parametrize("rule", ALERTS)
def test_alert_has_a_firing_and_a_silent_case(rule):
    fires = {
        any(rule["labels"].items() <= expected["exp_labels"].items() for expected in case["exp_alerts"])
        for document in [*DOCUMENTS.values(), *(yaml.safe_load(file.read_text()) for file in FILES)]
        for test in document["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == rule["alert"]
    }
    assert fires == {True, False}


@pytest.mark.parametrize("rule", ALERTS)
def test_alert_has_a_severity_a_value_and_a_runbook(rule):
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert "$value" in rule["annotations"]["summary"] or "| value" in rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"{REPOSITORY}docs/runbooks/{rule['alert']}.md"
    assert (RUNBOOKS / f"{rule['alert']}.md").read_text().startswith(f"# {rule['alert']}\n")


def test_runbooks_have_an_alert_and_a_line_in_the_index():
    index = (RUNBOOKS / "README.md").read_text()
    listed = dict(re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| ([a-z, ]+) \|", index, re.MULTILINE))
    severities = {}
    for rule in (parameter.values[0] for parameter in ALERTS):
        severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert listed.keys() == PAGES
    assert {name: set(text.split(", ")) for name, text in listed.items()} == severities


@pytest.mark.parametrize(("alert", "budget"), burn_rates.BUDGETS.items())
def test_burn_rates_match_the_documented_table(alert, budget):
    index = (RUNBOOKS / "README.md").read_text()
    assert f"{100 - 100 * budget:g} %" in index
    burns = [rule for rule in RULES if rule.get("alert") == alert]
    for rule in burns:
        long, short = re.findall(r"ratio_rate(\w+)", rule["expr"])
        pace, same = re.findall(rf"> (\S+) \* {budget}\n", rule["expr"])
        assert pace == same and rule["labels"]["window"] == long
        spent = float(pace) * int(long[:-1]) * DAYS[long[-1]] / 30
        spaced = (f"{window[:-1]} {window[-1].replace('m', 'min')}" for window in (long, short))
        row = f"| {' | '.join(spaced)} | {pace} | {100 * spent:.0f} % | {rule['labels']['severity']} |"
        assert row in index
    assert len(burns) == 4


def test_runbook_queries_are_valid(tmp_path):
    records = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": records}]}))
    promtool("check", "rules", file)
    assert len(records) > len(PAGES)


def test_runbook_commands_name_objects_of_the_cluster(minikube):
    existing = {
        (thing["metadata"].get("namespace"), f"{thing['kind'].lower()}/{thing['metadata']['name']}")
        for thing in minikube
    } | {("monitoring", "job/post-deploy-accuracy-now")}
    apps = {(workload.namespace, workload.name) for workload in manifests.workloads(minikube)}
    named, selected = set(), set()
    for page in RUNBOOKS.glob("*.md"):
        for namespace, arguments in COMMAND.findall(page.read_text()):
            named |= {(namespace, name) for name in re.findall(r"(?<![.\w])[a-z]+/[a-z][\w-]*", arguments)}
            labels = r"(?:app\.kubernetes\.io/name|service-name)=([\w-]+)"
            selected |= {(namespace, app) for app in re.findall(labels, arguments)}
    assert named and named <= existing
    assert selected and selected <= apps


def test_retention_is_longer_than_the_longest_window(minikube):
    windows = re.findall(r"\[(\d+)([smhd])\]", " ".join(rule["expr"] for rule in RULES))
    arguments = " ".join(manifests.workload(minikube, "prometheus").container["args"])
    (kept,) = re.findall(r"--storage\.tsdb\.retention\.time=(\d+)d", arguments)
    assert int(kept) > 2 * max(int(number) * DAYS[unit] for number, unit in windows)
