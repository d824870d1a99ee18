"""Skips the tests of the demo if a package that it imports is missing."""

import pytest

from ..extras import need


@pytest.fixture(autouse=True, scope="session")
def extras():
    """Skips the tests without the extra `demo`."""
    need("sklearn", "matplotlib", "tqdm", "orbax")
