"""The sources of the site: the targets of links, and the list of pages."""

import importlib

import pytest


@pytest.fixture
def stage(monkeypatch):
    monkeypatch.delenv("DOCS_REPOSITORY", raising=False)
    return importlib.import_module("sitegen.stage")


@pytest.mark.parametrize(
    ("link", "file", "expected"),
    [
        ("[a](../CHANGELOG.md)", "docs/design.md", "[a](/changelog.md)"),
        ("[a](docs/speed.md#threads)", "README.md", "[a](/speed.md#threads)"),
        ("[a](api.md)", "docs/design.md", "[a](/api/index.md)"),
        ("[a](../tests/test_docs.py)", "docs/design.md", "[a](/source/tests/test_docs.py.md)"),
        ("[a](https://arxiv.org)", "docs/design.md", "[a](https://arxiv.org)"),
        ("![a](curve.png)", "docs/design.md", "![a](/docs/curve.png)"),
        ("[`a`](speed.md)", "docs/design.md", "[`a`](/speed.md)"),
        ("[a](#here)", "docs/design.md", "[a](#here)"),
    ],
)
def test_links_lead_to_pages_of_the_site(stage, link, file, expected):
    assert stage._with_links(link, file) == expected


def test_links_lead_to_a_repository_whose_address_is_known(stage, monkeypatch):
    monkeypatch.setenv("DOCS_REPOSITORY", "https://example.org/x")
    link = stage._with_links("[a](../tests/test_docs.py)", "docs/design.md")
    assert link == "[a](https://example.org/x/blob/main/tests/test_docs.py)"


def test_a_link_to_a_missing_file_is_an_error(stage):
    with pytest.raises(ValueError, match=r"links to tests/nothing\.py, which does not exist"):
        stage._shown_files({"a.md": "[a](/source/tests/nothing.py.md)"})


def test_every_page_of_the_repository_is_in_the_menu_once(stage):
    pages = sorted(stage.repository_pages().values())
    lines = stage._menu(pages).split("\n")
    for page in set(pages) - {"index.md"}:
        assert lines.count(page.rpartition(".")[0]) == 1, page


def test_pages_have_different_files_where_case_does_not_count(stage):
    made = [page.lower() for page in stage.sources()]
    assert len(made) == len(set(made))
