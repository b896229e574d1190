"""Keys, and bundles signed with the command that users run."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

CURVES = {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1, "secp521r1": ec.SECP521R1}


@dataclass(frozen=True)
class KeyPair:
    """PEM files of a key pair."""

    private: Path
    public: Path


def key_pair(folder: Path, curve: str = "secp256r1") -> KeyPair:
    """Write a new key pair."""
    pair = KeyPair(folder / "model.key", folder / "model.pem")
    key = ec.generate_private_key(CURVES[curve]())
    pair.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pair.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pair


def sign(folder: Path, key: Path) -> Path:
    """Sign a bundle."""
    from ml.registry.signing import sign

    sign(folder, key)
    return folder
