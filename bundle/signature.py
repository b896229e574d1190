"""Verify the signature of a bundle, in the format of OpenSSF model signing.

``model.sig`` is a Sigstore bundle of an in-toto statement that names every file with its SHA-256
(https://github.com/sigstore/model-transparency). The library that signs, ``model-signing``, takes 45 MB and two seconds
to import with its clients for Sigstore's servers, so this module verifies signatures of elliptic-curve keys itself.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bundle import files
from bundle.files import BundleError

SIGNATURE_FILE = "model.sig"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


def verify(folder: Path, public_key: Path, read: Mapping[str, bytes] = MappingProxyType({})) -> None:
    """Verify the signature of a bundle and the SHA-256 of each of its files.

    Args:
        folder: The bundle.
        public_key: PEM file.
        read: Files that are in memory already, and may have been replaced in the folder since.

    Raises:
        BundleError: There is no signature, it is of another key, or a file was changed, added or removed.
    """
    statement = _verified_statement(folder / SIGNATURE_FILE, public_key)
    try:
        signed = _file_hashes(statement)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder / SIGNATURE_FILE}: names no files with their SHA-256 ({error!r}).") from error
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()} - {SIGNATURE_FILE}
    for problem, names in (("is missing", signed.keys() - found), ("is not signed", found - signed.keys())):
        if names:
            raise BundleError(f"{folder / min(names)}: {problem}: the bundle was changed after it was signed.")
    for name, sha256 in signed.items():
        content = read[name] if name in read else files.read(folder / name)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BundleError(f"{folder / name}: was changed after it was signed.")


def _verified_statement(path: Path, public_key: Path) -> Any:
    """Return the in-toto statement of a signature file, whose signature is the key's."""
    # Here, because only a service with a key needs the library.
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no public key in PEM"
        raise BundleError(f"{public_key}: the key for the bundle's signature cannot be read ({reason}).") from error
    digests: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size not in digests:
        raise BundleError(f"{public_key}: is no key of the curves P-256, P-384 and P-521.")
    if not path.exists():
        raise BundleError(f"{path}: is missing: the bundle is not signed, and MODEL_PUBLIC_KEY requires a signature.")
    try:
        envelope = json.loads(files.read(path))["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(envelope["payloadType"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: is no signature of a model ({error!r}).") from error
    # The pre-authentication encoding of DSSE 1.0.
    signed = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    try:
        key.verify(signature, signed, ec.ECDSA(digests[key.curve.key_size]))
    except InvalidSignature as error:
        raise BundleError(f"{path}: is not of the key {public_key}.") from error
    return json.loads(payload)


def _file_hashes(statement: Any) -> dict[str, str]:
    predicate = statement["predicate"]
    if statement["predicateType"] != PREDICATE_TYPE or predicate["serialization"]["method"] != "files":
        raise ValueError(statement["predicateType"])
    hashes = {}
    for resource in predicate["resources"]:
        if resource["algorithm"] != "sha256":
            raise ValueError(resource["algorithm"])
        hashes[str(resource["name"])] = str(resource["digest"])
    return hashes
