"""Fixtures of the fault tests."""

import pytest

from tests import bundles


@pytest.fixture
def bundle(tmp_path):
    """A bundle of the test's own, to replace or to damage."""
    return bundles.write(tmp_path / "model")
