"""The arguments that scripts/images passes to Docker; tests/images builds the images."""

import itertools
import json
import os
import subprocess

from tests.servers import ROOT

SCRIPT = ROOT / "scripts" / "images"


def run(folder, **settings):
    """Run the script with a `docker` that prints its arguments, one a line."""
    engine = folder / "docker"
    engine.write_text('#!/bin/sh\necho "attestations: $BUILDX_NO_DEFAULT_ATTESTATIONS" >&2\nprintf "%s\\n" "$@"\n')
    engine.chmod(0o755)
    kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    kept["PATH"] = f"{folder}:{kept['PATH']}"
    return subprocess.run([SCRIPT, "v1"], env=kept | settings, cwd=folder, capture_output=True, text=True)


def test_docker_builds_all_targets_from_the_repository(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["attestations: 1"] * 3, "kind and minikube load single images only"
    version = json.loads((ROOT / "models/champion/manifest.json").read_text())["version"]
    calls = done.stdout.strip().removeprefix("build\n").split("\nbuild\n")
    for target, call in zip(("inference", "monitor", "model"), calls, strict=True):
        arguments = call.split("\n")
        options = dict(itertools.pairwise(arguments))
        assert options["--target"] == target
        assert options["--tag"] == f"localhost/mlops/{target}:v1"
        assert ("VERSION=" + (version if target == "model" else "v1")) in arguments
        assert (f"localhost/mlops/model:{version}" in arguments) is (target == "model")
        assert arguments[-1] == "."
        assert "--format" not in arguments, "Docker has no such option"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"GIT_COMMIT={commit.strip()}" in calls[0].replace("-dirty", "")


def test_registry_base_and_options_are_passed_on(tmp_path):
    settings = {"REGISTRY": "ghcr.io/me/it", "BASE": "mirror/python:3.11-slim", "OPTIONS": "--no-cache --pull"}
    said = run(tmp_path, **settings).stdout.split("\n")
    assert "ghcr.io/me/it/inference:v1" in said
    assert "BASE=mirror/python:3.11-slim" in said
    assert {"--no-cache", "--pull"} <= set(said)


def test_missing_engine_is_named(tmp_path):
    done = run(tmp_path, ENGINE="no-such-engine")
    assert done.returncode == 2
    assert "no-such-engine is not installed" in done.stderr
