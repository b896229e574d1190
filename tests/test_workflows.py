"""The workflows: what they may do, when they do it, and that what they call is there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import ROOT

GITHUB = ROOT / ".github"
FILES = {path.stem: path for path in (GITHUB / "workflows").iterdir()}
# BaseLoader: YAML 1.1 reads the key `on` as true, and 3.10 as a number.
WORKFLOWS: dict[str, Any] = {name: yaml.load(path.read_text(), yaml.BaseLoader) for name, path in FILES.items()}
JOBS = [(name, job, body) for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()]
STEPS = [(f"{name}/{job}", step) for name, job, body in JOBS for step in body["steps"]]
CI, CD = WORKFLOWS["ci"]["jobs"], WORKFLOWS["cd"]["jobs"]["deploy"]


def step(job, name):
    return next(step for step in job["steps"] if step.get("name") == name)


def holds(condition, **github):
    """What GitHub makes of an ``if`` of these workflows, where ``github`` is the context of that name."""

    def look_up(match):
        value: Any = github
        for part in match[1].split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        return repr(value)

    python = re.sub(r"github\.([a-z_.]+)", look_up, condition).replace("&&", "and").replace("||", "or")
    return eval(python.replace("\n", " "), {"__builtins__": {}})


def test_every_action_is_pinned_by_its_commit_and_each_has_one_pin():
    pins = [line for path in FILES.values() for line in path.read_text().splitlines() if "uses:" in line]
    assert len(pins) == sum("uses" in step for _, step in STEPS)
    found: dict[str, set[str]] = {}
    for line in pins:
        match = re.fullmatch(r"\s*(?:- )?uses: ([\w.-]+/[\w.-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
        assert match, f"not pinned as owner/name@<40 digits> # vX.Y.Z: {line.strip()}"
        found.setdefault(match[1], set()).add(match[2])
    assert not {action: pins for action, pins in found.items() if len(pins) > 1}


@pytest.mark.parametrize(("workflow", "job", "body"), JOBS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_job_may_only_what_it_must(workflow, job, body):
    assert WORKFLOWS[workflow]["permissions"] == {}
    writes = {"packages", "id-token", "attestations"} if job == "publish" else set()
    assert body["permissions"] == {"contents": "read"} | dict.fromkeys(writes, "write")
    assert int(body["timeout-minutes"]) <= 60


def test_no_checkout_leaves_a_token_behind():
    checkouts = [(where, step) for where, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(JOBS)
    for where, checkout in checkouts:
        assert checkout["with"]["persist-credentials"] == "false", where


def test_no_expression_is_pasted_into_a_script():
    assert not [where for where, step in STEPS if "${{" in step.get("run", "")]


def test_nothing_is_called_latest():
    assert not [where for where, step in STEPS if ":latest" in str(step)]
    tags = next(step for step in CI["publish"]["steps"] if step.get("id") == "meta")["with"]
    assert tags["flavor"] == "latest=false"
    # A branch may be called `latest`, or as a commit is.
    assert tags["tags"].split() == ["type=raw,value=${{", "github.sha", "}}", "type=ref,event=branch,prefix=branch-"]


def test_what_the_workflows_call_is_there():
    verbs = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    scripts = "\n".join(step.get("run", "") for _, step in STEPS)
    used = set(re.findall(r"\bmake ([a-z-]+)", scripts))
    assert {"lint", "test"} <= used <= verbs
    called = set(re.findall(r"\bscripts/[\w-]+", scripts))
    assert called == {"scripts/deploy", "scripts/e2e", "scripts/test_tools"}
    assert all(os.access(ROOT / script, os.X_OK) for script in called)
    named = re.search(r"ARGS='([^']+)'", scripts)
    assert named and all((ROOT / path).exists() for path in named[1].split())
    stages = set(re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for job in ("images", "publish"):
        assert set(CI[job]["strategy"]["matrix"]["target"]) == {"inference", "monitor"} <= stages


def test_ci_runs_for_every_branch_and_pull_request_on_every_python():
    assert WORKFLOWS["ci"]["on"] == {"push": {"branches": ["**"]}, "pull_request": ""}
    pythons = CI["test"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert oldest == f">={pythons[0]}"


def test_only_a_push_publishes_and_only_what_passed_everything():
    assert set(CI["publish"]["needs"]) == set(CI) - {"publish"}
    assert holds(CI["publish"]["if"], event_name="push")
    assert not holds(CI["publish"]["if"], event_name="pull_request")
    pushing = [job for job, body in CI.items() if any("push" in step.get("with", {}) for step in body["steps"])]
    assert pushing == ["publish"]


def test_the_name_of_an_image_is_in_lower_case(tmp_path):
    environment = {"GITHUB_REPOSITORY": "Some-One/MLOps", "TARGET": "monitor", "GITHUB_OUTPUT": str(tmp_path / "out")}
    script = step(CI["publish"], "Name the image, in lower case as registries want it")["run"]
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], env=environment, check=True)
    assert (tmp_path / "out").read_text() == "name=ghcr.io/some-one/mlops/monitor\n"
    deploy = 'CONTEXT=minikube REGISTRY="ghcr.io/${GITHUB_REPOSITORY,,}" scripts/deploy "$COMMIT"'
    assert step(CD, "Deploy")["run"] == deploy


PASSED = {"conclusion": "success", "event": "push", "head_branch": "main"}


@pytest.mark.parametrize(
    ("run", "owner", "deploys"),
    [
        (PASSED, "me/repo", True),
        (PASSED, "stranger/repo", False),
        (PASSED | {"event": "pull_request"}, "me/repo", False),
        (PASSED | {"head_branch": "feature"}, "me/repo", False),
        (PASSED | {"conclusion": "failure"}, "me/repo", False),
    ],
)
def test_cd_runs_only_for_a_push_to_main_that_passed(run, owner, deploys):
    event = {"workflow_run": run | {"head_repository": {"full_name": owner}}}
    github = {"repository": "me/repo", "ref": "refs/heads/main", "event_name": "workflow_run", "event": event}
    assert holds(CD["if"], **github) is deploys


def test_cd_by_hand_runs_from_main_only():
    assert holds(CD["if"], event_name="workflow_dispatch", ref="refs/heads/main")
    assert not holds(CD["if"], event_name="workflow_dispatch", ref="refs/heads/feature")


def test_cd_follows_ci_one_at_a_time_on_the_windows_runner():
    cd = WORKFLOWS["cd"]
    assert cd["on"]["workflow_run"] == {
        "workflows": [WORKFLOWS["ci"]["name"]],
        "types": ["completed"],
        "branches": ["main"],
    }
    assert cd["concurrency"] == {"group": "cd", "cancel-in-progress": "false"}
    assert (CD["runs-on"], CD["environment"]) == (["self-hosted", "windows"], "minikube")
    assert CD["defaults"] == {"run": {"shell": "bash"}}
    assert CD["steps"][0]["with"]["ref"] == CD["env"]["COMMIT"]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_cd_refuses_what_is_not_a_commit_of_main(tmp_path):
    """A fork's commit can be checked out by its name too; here a branch stands for it."""
    source, clone = tmp_path / "source", tmp_path / "clone"
    source.mkdir()
    git(source, "init", "--quiet", "--initial-branch=main")
    for branch in ("main", "main", "stranger"):
        git(source, "checkout", "--quiet", "-B", branch)
        git(source, "commit", "--quiet", "--allow-empty", "--message", branch)
    git(tmp_path, "clone", "--quiet", str(source), str(clone))
    script = step(CD, "Refuse what is not a commit of main")["run"]

    def refused(checked_out, commit):
        git(clone, "checkout", "--quiet", checked_out)
        environment = os.environ | {"COMMIT": commit}
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script], cwd=clone, env=environment, capture_output=True
        ).returncode

    main, older = (git(source, "rev-parse", name) for name in ("main", "main~1"))
    stranger = git(source, "rev-parse", "stranger")
    assert not refused(main, main)
    assert not refused(older, older)
    assert refused(stranger, stranger)
    assert refused(main, main[:12])
    assert refused(main, "main")


def test_dependabot_watches_every_list_of_packages_and_every_image():
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    watched = {
        update["package-ecosystem"]: {
            folder.resolve()
            for pattern in update.get("directories", [update.get("directory")])
            for folder in ([ROOT] if pattern == "/" else ROOT.glob(pattern.strip("/")))
        }
        for update in updates
    }
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    paths = [ROOT / name for name in files]
    assert watched["pip"] == {path.parent for path in paths if re.fullmatch(r"requirements.*\.txt", path.name)}
    manifests = {
        path.parent
        for path in paths
        if path.suffix == ".yaml" and re.search(r"^\s+(- )?image: \w+/", path.read_text(), re.MULTILINE)
    }
    assert manifests | {ROOT} <= watched["docker"]
    assert "github-actions" in watched
    assert all(update["cooldown"]["default-days"] >= 7 and update["groups"] for update in updates)


def test_zizmor_finds_nothing():
    zizmor = [Path(sys.executable).with_name("zizmor"), "--offline", "--pedantic", "--strict-collection"]
    done = subprocess.run([*zizmor, "--no-progress", GITHUB], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout + done.stderr
