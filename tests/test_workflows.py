"""Permissions and triggers of the workflows, and the scripts that they call."""

import os
import re
import subprocess
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
STEPS = [(f"{name}/{job}", step) for name, job, body in JOBS for step in body.get("steps", ())]
CI, CD, TEST = WORKFLOWS["ci"]["jobs"], WORKFLOWS["cd"]["jobs"]["deploy"], WORKFLOWS["test"]["jobs"]
PROPOSE = {"contents": "write", "pull-requests": "write", "packages": "read"}
PERMISSIONS = {
    "ci/publish": {"packages": "write", "id-token": "write", "attestations": "write"},
    "ci/propose": PROPOSE,
    "propose/digests": PROPOSE,
    "cd/deploy": {"attestations": "read"},
    "codeql/analyze": {"security-events": "write"},
    "release/release": {"contents": "write", "packages": "write", "id-token": "write", "attestations": "write"},
    "scorecard/analyze": {"security-events": "write", "id-token": "write"},
}


def script(job, part):
    """Return the one script of a job that contains a text."""
    (found,) = (step["run"] for step in job["steps"] if part in step.get("run", ""))
    return found


def bash(script, folder, **environment):
    command = ["bash", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True).returncode


def holds(condition, **github):
    """Evaluate an ``if`` as GitHub does, with ``github`` as the context of that name."""

    def look_up(match):
        value: Any = github
        for part in match[1].split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        return repr(value)

    python = re.sub(r"github\.([a-z_.]+)", look_up, condition).replace("&&", "and").replace("||", "or")
    return eval(python.replace("\n", " "), {"__builtins__": {}})


def test_every_action_has_one_pin_by_commit():
    lines = [line for path in FILES.values() for line in path.read_text().splitlines()]
    pins = [line for line in lines if "uses:" in line and "uses: ./.github/" not in line]
    assert len(pins) == sum("uses" in step for _, step in STEPS)
    found: dict[str, set[str]] = {}
    for line in pins:
        match = re.fullmatch(r"\s*(?:- )?uses: ([\w.-]+/[\w.-]+)(?:/[\w-]+)?@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
        assert match, f"not pinned as owner/name@<40 digits> # vX.Y.Z: {line.strip()}"
        found.setdefault(match[1], set()).add(match[2])
    assert not {action: pins for action, pins in found.items() if len(pins) > 1}


@pytest.mark.parametrize(("workflow", "job", "body"), JOBS, ids=lambda value: value if isinstance(value, str) else "")
def test_job_has_the_least_permissions(workflow, job, body):
    assert WORKFLOWS[workflow]["permissions"] == {}
    assert body["permissions"] == {"contents": "read"} | PERMISSIONS.get(f"{workflow}/{job}", {})
    if "uses" in body:
        called = WORKFLOWS[Path(body["uses"]).stem]
        assert "workflow_call" in called["on"]
        # GitHub refuses a called job that asks for more than its caller has.
        assert all(inner["permissions"].items() <= body["permissions"].items() for inner in called["jobs"].values())
    else:
        assert int(body["timeout-minutes"]) <= 60


def test_checkout_leaves_no_token():
    checkouts = [(where, step) for where, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len([job for _, _, job in JOBS if "steps" in job])
    for where, checkout in checkouts:
        assert checkout["with"]["persist-credentials"] == "false", where


def test_script_has_no_expression():
    assert not [where for where, step in STEPS if "${{" in step.get("run", "")]


def test_no_image_is_tagged_latest():
    assert not [where for where, step in STEPS if ":latest" in str(step)]
    tags = next(step for step in CI["publish"]["steps"] if step.get("id") == "meta")["with"]
    assert tags["flavor"] == "latest=false"
    # A branch may be called `latest`, or like a commit.
    assert all("prefix=" in line for line in tags["tags"].splitlines() if "event=branch" in line)


def test_verbs_and_scripts_exist():
    verbs = set(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    scripts = "\n".join(step.get("run", "") for _, step in STEPS)
    used = set(re.findall(r"\bmake ([a-z-]+)", scripts))
    assert {"lint", "test", "validate"} <= used <= verbs
    called = set(re.findall(r"\bscripts/[\w-]+", scripts))
    assert called and all(os.access(ROOT / script, os.X_OK) for script in called)
    modules = set(re.findall(r"python -m ([\w.]+)", scripts)) - {"services.monitor"}
    assert modules and all((ROOT / module.replace(".", "/")).with_suffix(".py").exists() for module in modules)
    stages = set(re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for job in ("images", "publish"):
        assert set(CI[job]["strategy"]["matrix"]["target"]) == {"inference", "monitor", "model"} <= stages


def test_ci_runs_for_every_branch_on_the_oldest_python():
    assert WORKFLOWS["ci"]["on"] == {"push": {"branches": ["**"]}, "pull_request": ""}
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert oldest.removeprefix(">=") in TEST["test"]["strategy"]["matrix"]["python"]


def test_push_publishes_after_every_job():
    assert set(CI["publish"]["needs"]) == set(CI) - {"publish", "propose"}
    assert {CI[job]["uses"] for job in ("test", "scan")} == {
        f"./.github/workflows/{name}.yml" for name in ("test", "scan")
    }
    assert holds(CI["publish"]["if"], event_name="push")
    assert not holds(CI["publish"]["if"], event_name="pull_request")
    pushing = [job for job, body in CI.items() if any("push" in s.get("with", {}) for s in body.get("steps", ()))]
    assert pushing == ["publish"]


def test_image_names_are_in_lower_case(tmp_path):
    out = tmp_path / "out"
    settings = {"GITHUB_REPOSITORY": "Some-One/MLOps", "TARGET": "monitor", "GITHUB_OUTPUT": str(out), "COMMIT": "abc"}
    settings |= {"GITHUB_SHA": "abc"}
    assert bash(script(CI["publish"], "ghcr.io"), tmp_path, **settings) == 0
    assert out.read_text() == "name=ghcr.io/some-one/mlops/monitor\nversion=abc\n"
    (tmp_path / "scripts").mkdir()
    deploy = tmp_path / "scripts" / "deploy"
    deploy.write_text(f'#!/bin/sh\necho "$CONTEXT $REGISTRY $*" >{out}\n')
    deploy.chmod(0o755)
    assert bash(script(CD, "scripts/deploy"), tmp_path, **settings) == 0
    assert out.read_text() == "minikube ghcr.io/some-one/mlops abc\n"
    assert bash(script(CD, "scripts/deploy"), tmp_path, **settings, MODEL="m2") == 0
    assert out.read_text() == "minikube ghcr.io/some-one/mlops abc --model m2\n"


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
def test_cd_deploys_a_push_to_main_that_passed(run, owner, deploys):
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
    # OpenSSF Scorecard calls another ref dangerous: the commit is checked out later, when it was found on main.
    assert CD["steps"][0]["with"]["ref"] == "main"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_cd_refuses_a_commit_that_is_not_on_main(tmp_path):
    """The commit of a fork can be checked out by its name, too; here a branch stands for it."""
    source, clone = tmp_path / "source", tmp_path / "clone"
    source.mkdir()
    git(source, "init", "--quiet", "--initial-branch=main")
    for branch in ("main", "main", "stranger"):
        git(source, "checkout", "--quiet", "-B", branch)
        git(source, "commit", "--quiet", "--allow-empty", "--message", branch)
    git(tmp_path, "clone", "--quiet", str(source), str(clone))
    check = script(CD, "merge-base")

    def checked_out(commit):
        git(clone, "checkout", "--quiet", "main")
        failed = bash(check, clone, COMMIT=commit)
        head = git(clone, "rev-parse", "HEAD")
        assert head == main if failed else head == commit
        return not failed

    main, older = (git(source, "rev-parse", name) for name in ("main", "main~1"))
    git(clone, "branch", "--force", "main", main)
    assert checked_out(main)
    assert checked_out(older)
    for refused in (git(source, "rev-parse", "stranger"), main[:12], "main", "", f"{main}\n--force"):
        assert not checked_out(refused), refused


def test_dependabot_watches_all_packages_and_images():
    settings = yaml.safe_load((GITHUB / "dependabot.yml").read_text())
    updates = settings["updates"]
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
        if path.suffix == ".yaml" and re.search(r"^\s+(- )?image: [\w./-]+:", path.read_text(), re.MULTILINE)
    }
    assert manifests | {ROOT} <= watched["docker"]
    assert watched["docker-compose"] == {ROOT}
    assert "github-actions" in watched
    together = {update["package-ecosystem"] for update in updates if update.get("multi-ecosystem-group") == "images"}
    assert together == {"docker", "docker-compose"} and settings["multi-ecosystem-groups"]["images"]["schedule"]
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)
    assert all(update.get("groups") or update.get("multi-ecosystem-group") for update in updates)


def test_proposal_needs_new_contents_of_an_image(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "--quiet", "--initial-branch=main")
    commits = []
    for path in ("services/app.py", "kustomize/components/published-images/kustomization.yaml", "bundle/load.py"):
        (source / path).parent.mkdir(parents=True)
        (source / path).write_text("")
        git(source, "add", ".")
        git(source, "commit", "--quiet", "--message", path)
        commits.append(git(source, "rev-parse", "HEAD"))
    look = script(WORKFLOWS["propose"]["jobs"]["digests"], "git cat-file")

    def proposes(before, now):
        out = tmp_path / "out"
        out.write_text("")
        assert bash(look, source, BEFORE=before, GITHUB_SHA=now, GITHUB_OUTPUT=str(out)) == 0
        return out.read_text() == "changed=yes\n"

    first, proposal, change = commits
    assert not proposes(first, proposal)
    assert proposes(proposal, change)
    assert proposes(first, change)
    assert proposes("0" * 40, first)
