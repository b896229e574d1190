"""What the tests of faults share: a folder with a bundle, and clients that never pause."""

import pytest

from tests import bundles


@pytest.fixture
def bundle(tmp_path):
    """A bundle of the test's own, to put another in its place or to spoil it."""
    return bundles.write(tmp_path / "model")
