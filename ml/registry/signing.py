"""Sign bundles in the format of OpenSSF model signing, which ``bundle.signature`` verifies."""

from pathlib import Path

from bundle.load import load
from bundle.signature import SIGNATURE_FILE
from ml.errors import UserError


class SigningError(UserError):
    """Raised when the key does not sign."""


def sign(folder: Path, key: Path) -> None:
    """Write the signature of all files of a bundle into it, with an elliptic-curve key in PEM.

    Raises:
        BundleError: The bundle is damaged.
        SigningError: The key cannot be used.
    """
    # Here, because its import takes seconds.
    from model_signing import hashing, signing

    load(folder)
    (folder / SIGNATURE_FILE).unlink(missing_ok=True)
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key)
    except (OSError, ValueError, TypeError) as error:
        raise SigningError(
            f"{key}: cannot be used to sign, it must be an EC key in PEM without password ({error})."
        ) from error
    files = hashing.Config().set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)
    signer.set_hashing_config(files).sign(folder, folder / SIGNATURE_FILE)
