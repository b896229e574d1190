"""The commands that publish a bundle, with an engine that notes its arguments; tests/images builds images."""

import json
import os
from unittest.mock import Mock

import pytest

from bundle.load import load
from ml.registry.__main__ import main
from tests import bundles
from tests.signatures import key_pair

DIGEST = "sha256:" + "d" * 64
# As podman: the id is written to a file, and the digest of a push, too. The context is kept.
ENGINE = """#!/bin/sh
printf '%s\\n' "$*" >>{notes}
while [ $# -gt 0 ]; do
  case $1 in
    --iidfile) printf 'sha256:{zeros}' >"$2" ;;
    --digestfile) printf '{digest}' >"$2" ;;
    bundle=*) rm -rf {notes}.bundle && cp -R "${{1#bundle=}}" {notes}.bundle ;;
    no-such-place/model:*) echo "denied" >&2; exit 1 ;;
  esac
  shift
done
"""
# As docker: the digests of a pushed image are asked for, by its short name.
DOCKER = """#!/bin/sh
case $1 in image) printf '%s\\n' {digests} ;; esac
"""


@pytest.fixture
def notes(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    engine = folder / "podman"
    engine.write_text(ENGINE.format(notes=tmp_path / "notes", digest=DIGEST, zeros="0" * 64))
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ENGINE", "podman")
    return tmp_path / "notes"


def test_folder_is_published_without_mlflow(notes, tmp_path, capsys):
    folder = bundles.write(tmp_path / "bundle", version="m2")
    assert main(["--tracking-uri", "http://127.0.0.1:1", "publish", "--bundle", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["localhost/mlops/model:m2", "sha256:" + "0" * 64]
    (build,) = notes.read_text().splitlines()
    assert build.startswith("build ") and " --target model --tag localhost/mlops/model:m2 " in build
    assert "VERSION=m2" in build
    assert load(tmp_path / "notes.bundle") == load(folder)


def test_image_is_pushed_in_lower_case_and_signed(notes, tmp_path, capsys):
    folder, keys = bundles.write(tmp_path / "bundle", version="m2"), key_pair(tmp_path)
    options = ["--push", "--registry", "ghcr.io/Owner/Repo", "--key", str(keys.private)]
    assert main(["publish", "--bundle", str(folder), *options]) == 0
    assert capsys.readouterr().out.splitlines() == ["ghcr.io/owner/repo/model:m2", DIGEST]
    assert notes.read_text().splitlines()[1].endswith(" ghcr.io/owner/repo/model:m2")
    assert load(tmp_path / "notes.bundle", keys.public) == load(folder)
    assert not (folder / "model.sig").exists()


def pushed_by_docker(tmp_path, registry, digests):
    """Publish with a docker that knows the image by these digests."""
    engine = tmp_path / "bin" / "docker"
    engine.write_text(DOCKER.format(digests=" ".join(digests)))
    engine.chmod(0o755)
    folder = bundles.write(tmp_path / "bundle", version="m2")
    return main(["publish", "--bundle", str(folder), "--engine", "docker", "--push", "--registry", registry])


@pytest.mark.parametrize("registry", ["docker.io/me", "index.docker.io/me", "me", "ghcr.io/me"])
def test_docker_names_the_digest_of_the_push(notes, tmp_path, capsys, registry):
    pushed = "ghcr.io/me/model" if registry == "ghcr.io/me" else "me/model"
    older = "sha256:" + "e" * 64
    digests = [f"{pushed}@{older}", f"{pushed}@{DIGEST}", f"elsewhere/model@{older}"]
    assert pushed_by_docker(tmp_path, registry, digests) == 0
    assert capsys.readouterr().out.splitlines() == [f"{registry}/model:m2", DIGEST]


def test_push_without_a_digest_is_one_sentence(notes, tmp_path, capsys):
    assert pushed_by_docker(tmp_path, "docker.io/me", [f"elsewhere/model@{DIGEST}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no digest of docker.io/me/model:m2" in line and "--engine podman" in line


@pytest.mark.parametrize(
    ("version", "options", "words"),
    [
        ("m/2", [], "'m/2' cannot be an image's tag"),
        ("latest", [], "'latest' cannot be an image's tag"),
        ("m2", ["--engine", "buildah"], "buildah is not installed"),
        ("m2", ["--push", "--registry", "no-such-place"], "denied"),
        ("m2", ["--key", "no.key"], "no.key: cannot be used to sign"),
    ],
)
def test_refusal_is_one_sentence(notes, tmp_path, monkeypatch, capsys, version, options, words):
    monkeypatch.setattr("shutil.which", lambda name: None if name == "buildah" else name)
    folder = bundles.write(tmp_path / "bundle", version=version)
    assert main(["publish", "--bundle", str(folder), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_sign_writes_the_signature_into_the_bundle(tmp_path, capsys):
    folder, keys = bundles.write(tmp_path / "bundle"), key_pair(tmp_path)
    assert main(["sign", str(folder), "--key", str(keys.private)]) == 0
    assert load(folder, keys.public) == load(folder)
    (folder / "model.onnx").write_bytes(b"?")
    assert main(["sign", str(folder), "--key", str(keys.private)]) == 2
    assert "SHA-256" in capsys.readouterr().err


def test_ctrl_c_ends_without_a_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ml.registry.model_image.publish", Mock(side_effect=KeyboardInterrupt))
    assert main(["publish", "--bundle", str(bundles.write(tmp_path / "bundle"))]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_damaged_folder_is_not_published(notes, tmp_path):
    folder = bundles.write(tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"model_sha256": "0" * 64}))
    assert main(["publish", "--bundle", str(folder)]) == 2
    assert not notes.exists()
