"""The modules that make the site, which are in a folder of the documentation."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _modules_of_the_site(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
