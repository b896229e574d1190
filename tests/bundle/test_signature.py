"""Signatures of bundles, made as OpenSSF model signing makes them."""

import json
import shutil

import pytest

from bundle.files import BundleError
from bundle.load import load
from bundle.signature import SIGNATURE_FILE
from tests import bundles
from tests.signatures import key_pair, sign


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signed(tmp_path_factory, keys):
    folder = bundles.write(tmp_path_factory.mktemp("signed") / "bundle")
    (folder / "MODEL_CARD.md").write_text("a card")
    return sign(folder, keys.private)


@pytest.fixture
def folder(signed, tmp_path):
    return shutil.copytree(signed, tmp_path / "bundle")


def test_signed_bundle_is_loaded_with_and_without_the_key(folder, keys):
    assert load(folder, keys.public) == load(folder)


@pytest.mark.parametrize("curve", ["secp384r1", "secp521r1"])
def test_other_curves_are_verified(folder, tmp_path, curve):
    other = key_pair(tmp_path, curve)
    load(sign(folder, other.private), other.public)


def edit_manifest(folder):
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace('"colours"', '"colors"', 1))


def exchange_payload(folder):
    """Let the signature of one bundle stand under the statement of another."""
    other = bundles.write(folder.with_name("other"), version="2")
    (folder / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    own, foreign = json.loads((folder / SIGNATURE_FILE).read_text()), sign(other, key_pair(other.parent).private)
    payload = json.loads((foreign / SIGNATURE_FILE).read_text())["dsseEnvelope"]["payload"]
    own["dsseEnvelope"]["payload"] = payload
    (folder / SIGNATURE_FILE).write_text(json.dumps(own))


REFUSED = {
    "unsigned": (lambda folder: (folder / SIGNATURE_FILE).unlink(), "model.sig: is missing: the bundle is not signed"),
    "changed manifest": (edit_manifest, "manifest.json: was changed"),
    "changed model": (lambda folder: (folder / "model.onnx").write_bytes(b"?"), "model.onnx: was changed"),
    "changed card": (lambda folder: (folder / "MODEL_CARD.md").write_text("?"), "MODEL_CARD.md: was changed"),
    "added file": (lambda folder: (folder / "more.py").touch(), "more.py: is not signed"),
    "removed file": (lambda folder: (folder / "MODEL_CARD.md").unlink(), "MODEL_CARD.md: is missing"),
    "another statement": (exchange_payload, "model.sig: is not of the key"),
    "no JSON": (lambda folder: (folder / SIGNATURE_FILE).write_bytes(b"\xff"), "model.sig: is no signature"),
    "other JSON": (lambda folder: (folder / SIGNATURE_FILE).write_text("[]"), "model.sig: is no signature"),
    "no signatures": (
        lambda folder: (folder / SIGNATURE_FILE).write_text('{"dsseEnvelope": {"payload": "", "signatures": []}}'),
        "model.sig: is no signature",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_changed_or_unsigned_bundle_is_refused_with_one_sentence(folder, keys, name):
    change, words = REFUSED[name]
    change(folder)
    with pytest.raises(BundleError, match=words) as error:
        load(folder, keys.public)
    assert "\n" not in str(error.value)


def test_bundle_signed_with_another_key_is_refused(folder, tmp_path):
    with pytest.raises(BundleError, match=r"model\.sig: is not of the key"):
        load(folder, key_pair(tmp_path).public)


@pytest.mark.parametrize("content", [None, b"no key"])
def test_unreadable_key_is_named(folder, tmp_path, content):
    key = tmp_path / "key.pem"
    if content:
        key.write_bytes(content)
    with pytest.raises(BundleError, match=r"key\.pem: the key for the bundle's signature cannot be read"):
        load(folder, key)
