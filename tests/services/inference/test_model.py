import pytest

from services.inference import model
from tests import bundles
from tests.services.inference.client import Client, assert_problem, create_client
from tests.signatures import key_pair, sign


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Start without an inherited bundle, and forget the test's own."""
    monkeypatch.setattr(model, "_inherited", model.Model())


def unready(client: Client, words: str) -> None:
    for response in (client.get("/ready"), client.send(b"")):
        assert_problem(response, 503, "no-model", words)
        assert int(response.headers["Retry-After"]) > 1


def spoil(folder, data=b"not a graph"):
    (folder / "model.onnx").write_bytes(data)


def test_service_without_a_model_lives_and_answers_the_reason(tmp_path, caplog):
    spoil(bundles.write(tmp_path))
    client = create_client(model_dir=tmp_path)
    unready(client, "SHA-256")
    assert client.get("/health").status_code == 200
    assert "SHA-256" in client.get("/").text
    assert client.metric("model_ready") == 0
    assert "no model" in caplog.text and "Traceback" not in caplog.text


def test_graph_that_differs_from_its_manifest_is_no_model(tmp_path):
    folder = bundles.write(tmp_path, input={"size": 64, "resize": "stretch"})
    unready(create_client(model_dir=folder), "64 × 64")


def test_workers_serve_the_inherited_bundle(tmp_path):
    model.preload(bundles.write(tmp_path, version="1"))
    bundles.write(tmp_path, version="2")
    assert create_client(model_dir=tmp_path).get("/ready").json["model"]["version"] == "1"


def test_workers_inherit_the_reason_too(tmp_path):
    model.preload(tmp_path)
    bundles.write(tmp_path)
    unready(create_client(model_dir=tmp_path), "No such file")


def test_reload_serves_a_new_bundle(tmp_path, caplog):
    model.preload(tmp_path)
    for version in ("1", "2"):
        model.reload(bundles.write(tmp_path, version=version))
        client = create_client(model_dir=tmp_path)
        ready = client.get("/ready").json
        assert (ready["model"]["version"], ready["refused"]) == (version, None)
        assert client.metric("model_ready") == 1
        assert client.metric("model_refused") == 0
    assert not caplog.records


def test_reload_refuses_a_bad_bundle_until_a_good_one_comes(tmp_path, caplog):
    model.preload(bundles.write(tmp_path))
    spoil(tmp_path)
    model.reload(tmp_path)
    assert "the new bundle is refused, 1 stays" in caplog.text
    client = create_client(model_dir=tmp_path)
    ready = client.get("/ready").json
    assert ready["model"]["version"] == "1"
    assert "SHA-256" in ready["refused"]
    assert client.metric("model_refused") == client.metric("model_ready") == 1
    model.reload(bundles.write(tmp_path, version="2"))
    ready = create_client(model_dir=tmp_path).get("/ready").json
    assert (ready["model"]["version"], ready["refused"]) == ("2", None)


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo 'It is bad.' >&2; exit 1", "It is bad."), ("kill -SEGV $$", "signal 11"), ("exec sleep 60", "0.5 seconds")],
)
def test_reload_refuses_a_bundle_whose_check_fails(tmp_path, monkeypatch, script, words):
    (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(model.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(model, "CHECK_TIMEOUT", 0.5)
    model.preload(bundles.write(tmp_path))
    model.reload(tmp_path)
    assert words in create_client(model_dir=tmp_path).get("/ready").json["refused"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return key_pair(tmp_path_factory.mktemp("keys"))


def test_service_with_a_key_serves_a_signed_bundle_only(tmp_path, keys):
    folder = bundles.write(tmp_path / "bundle")
    unready(create_client(model_dir=folder, model_public_key=keys.public), "the bundle is not signed")
    sign(folder, keys.private)
    ready = create_client(model_dir=folder, model_public_key=keys.public).get("/ready")
    assert ready.json["model"]["version"] == "1"
    unready(create_client(model_dir=folder, model_public_key=tmp_path / "none.pem"), "none.pem")


def test_reload_with_a_key_keeps_the_signed_bundle(tmp_path, keys):
    model.preload(sign(bundles.write(tmp_path), keys.private), keys.public)
    bundles.write(tmp_path, version="2")
    model.reload(tmp_path, keys.public)
    ready = create_client(model_dir=tmp_path, model_public_key=keys.public).get("/ready").json
    assert ready["model"]["version"] == "1"
    assert "was changed after it was signed" in ready["refused"]
    model.reload(sign(tmp_path, keys.private), keys.public)
    ready = create_client(model_dir=tmp_path, model_public_key=keys.public).get("/ready").json
    assert (ready["model"]["version"], ready["refused"]) == ("2", None)
