"""Libraries that write the files; without them, the tests of modules that use them are skipped."""

import pytest

from ..extras import need


@pytest.fixture(autouse=True, scope="module")
def extras(request):
    """Skips the tests without the bridges that their module imports."""
    need(*(name for name in ("safetensors", "orbax") if hasattr(request.module, name)))
