"""The README that is uploaded to PyPI has links that work there."""

import importlib
import re
import tomllib

import pytest

from .conftest import ROOT

HERE = "https://example.org/owner/name"


@pytest.fixture
def release():
    return importlib.import_module("build_release")


def test_all_links_of_the_readme_become_addresses(release):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = release.with_addresses(readme, HERE)
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) == len(re.findall(r"\]\(([^)]+)\)", readme)) > 20
    assert all(target.startswith(("https://", "#")) for target in targets)
    assert f"[changelog]({HERE}/blob/main/CHANGELOG.md)" in text


def test_the_project_gets_its_addresses(release):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    made = tomllib.loads(release.with_urls(text, HERE, "https://example.org/docs"))
    assert made["project"].pop("urls") == {
        "Repository": HERE,
        "Documentation": "https://example.org/docs",
        "Changelog": f"{HERE}/blob/main/CHANGELOG.md",
        "Issues": f"{HERE}/issues",
    }
    assert made == tomllib.loads(text)
