"""The alerts: each tested where it fires and where it nearly does, explained in a runbook, and free of lint."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import prometheus
from tests.kustomize import manifests
from tests.kustomize.prometheus_config import RUNBOOKS, questions, rules, static

CASES = sorted((Path(__file__).parent / "prometheus").glob("*.yml"))
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


def expectations(alert):
    """What each test of an alert of this name expects: the labels of those that fire."""
    for file in CASES:
        for group in yaml.safe_load(file.read_text())["tests"]:
            for case in group.get("alert_rule_test", []):
                if case["alertname"] == alert:
                    yield [expected["exp_labels"] for expected in case["exp_alerts"]]


def test_the_configuration_and_all_rules_are_valid_and_free_of_lint(tmp_path):
    promtool("check", "config", "--lint=all", "--lint-fatal", static(tmp_path, JOBS))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_only_then(file):
    promtool("test", "rules", file)


@pytest.mark.parametrize("rule", ALERTS)
def test_every_alert_has_a_case_where_it_fires_and_one_where_it_does_not(rule):
    fires = [
        any(rule["labels"].items() <= labels.items() for labels in expected) for expected in expectations(rule["alert"])
    ]
    assert set(fires) == {True, False}


@pytest.mark.parametrize("rule", ALERTS)
def test_every_alert_says_how_urgent_it_is_what_it_saw_and_what_to_do(rule):
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert "$value" in rule["annotations"]["summary"] or "| value" in rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"{REPOSITORY}docs/runbooks/{rule['alert']}.md"
    assert (RUNBOOKS / f"{rule['alert']}.md").read_text().startswith(f"# {rule['alert']}\n")


def test_every_runbook_has_its_alert_and_its_line_in_the_index():
    index = (RUNBOOKS / "README.md").read_text()
    listed = dict(re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| ([a-z, ]+) \|", index, re.MULTILINE))
    severities = {}
    for rule in (parameter.values[0] for parameter in ALERTS):
        severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert listed.keys() == severities.keys() == PAGES
    assert {name: set(text.split(", ")) for name, text in listed.items()} == severities


@pytest.mark.parametrize(
    ("alert", "budget", "objective"),
    [
        ("PredictErrorBudgetBurn", 0.005, "99.5 % are answered"),
        ("PredictLatencyBudgetBurn", 0.01, "99 % of the answered"),
    ],
)
def test_the_objectives_as_written_are_those_of_the_rules(alert, budget, objective):
    index = (RUNBOOKS / "README.md").read_text()
    assert objective in index
    burns = [rule for rule in RULES if rule.get("alert") == alert]
    for rule in burns:
        long, short = re.findall(r"ratio_rate(\w+)", rule["expr"])
        pace, same = re.findall(rf"> (\S+) \* {budget}\n", rule["expr"])
        assert pace == same and rule["labels"]["window"] == long
        spent = float(pace) * int(long[:-1]) * DAYS[long[-1]] / 30
        row = f"| {spaced(long)} | {spaced(short)} | {pace} | {100 * spent:.0f} % | {rule['labels']['severity']} |"
        assert row in index
    assert len(burns) == 4


def spaced(window):
    """As people write it."""
    return f"{window[:-1]} {window[-1].replace('m', 'min')}"


def test_runbooks_ask_questions_that_prometheus_understands(tmp_path):
    asked = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(questions())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": asked}]}))
    promtool("check", "rules", file)
    assert len(asked) > len(PAGES)


def test_runbooks_name_what_is_in_the_cluster(minikube):
    there = {
        (thing["metadata"].get("namespace"), f"{thing['kind'].lower()}/{thing['metadata']['name']}")
        for thing in minikube
    }
    apps = {(workload.namespace, workload.name) for workload in manifests.workloads(minikube)}
    named = 0
    for page in RUNBOOKS.glob("*.md"):
        for namespace, arguments in COMMAND.findall(page.read_text()):
            for name in re.findall(r"(?<![.\w])[a-z]+/[a-z][\w-]*", arguments):
                made_by_hand = name == "job/post-deploy-accuracy-now"
                assert (namespace, name) in there or made_by_hand, f"{page.name}: {arguments}"
                named += 1
            for app in re.findall(r"(?:app\.kubernetes\.io/name|service-name)=([\w-]+)", arguments):
                assert (namespace, app) in apps, f"{page.name}: {arguments}"
    assert named > 20


def test_what_is_kept_is_longer_than_the_longest_window(minikube):
    windows = re.findall(r"\[(\d+)([smhd])\]", " ".join(rule["expr"] for rule in RULES))
    arguments = manifests.workload(minikube, "prometheus").container["args"]
    (kept,) = (
        re.fullmatch(r"--storage\.tsdb\.retention\.time=(\d+)d", argument)
        for argument in arguments
        if "retention.time" in argument
    )
    assert int(kept.group(1)) > 2 * max(int(number) * DAYS[unit] for number, unit in windows)
