"""What the demo imports; without it, its tests are skipped."""

import pytest

from ..extras import need


@pytest.fixture(autouse=True, scope="session")
def extras():
    """The extra `demo`."""
    need("sklearn", "matplotlib", "tqdm", "orbax")
