"""The documentation's code runs, its links lead somewhere, and it leaves nothing public out."""

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

import jax
import pytest

import functional_optim

from .extras import missing, need

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "docs/guides", "benchmarks")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
BLOCK = re.compile(
    r"^(?:<!-- needs: ([\w., ]+) -->\n)?```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """Runs all blocks of a page in order, in one namespace, with JAX as readers have it."""
    monkeypatch.chdir(tmp_path)
    run(page.read_text(encoding="utf-8"), page)


def run(text, page="page"):
    """Runs the Python blocks of a page, and compares its text blocks with what these print.

    `<!-- needs: flax, orbax -->` at the top of a page skips it where one of these libraries is
    missing; right above a block, it skips the block and its output. In a text block, `...` stands
    for anything.
    """
    at_top = re.match(r"<!-- needs: ([\w., ]+) -->\n(?!```)", text)
    if at_top:
        need(*at_top[1].split(", "))
    module = ModuleType("page")  # which pickle imports
    namespace, printed, skips = vars(module), "", False
    # Only this entry is removed: modules that the page imports stay, or they are loaded twice.
    sys.modules["page"] = module
    with contextlib.ExitStack() as stack:
        stack.callback(sys.modules.pop, "page")
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        for found in BLOCK.finditer(text):
            needs, language, block = found.groups()
            if language == "text":
                assert skips or as_shown(block, printed), f"{page} shows\n{block}for\n{printed}"
                continue
            skips = bool(needs) and any(map(missing, needs.split(", ")))
            if skips:
                continue
            above = "\n" * text.count("\n", 0, found.start(3))  # tracebacks show the page's lines
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(above + block, page, "exec"), namespace)
            printed = out.getvalue()
    return namespace


def as_shown(shown, printed):
    return doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS)


PAGE = "```python\nprint(1.25)\n```\n\n```text\n{}\n```\n"


def test_output_that_a_page_shows_is_compared():
    run(PAGE.format("1.25"))
    run(PAGE.format("1..."))
    with pytest.raises(AssertionError, match=r"page shows\s+1\.5\s+for\s+1\.25"):
        run(PAGE.format("1.5"))


def test_code_that_needs_a_missing_library_is_skipped():
    run("<!-- needs: no_such_library -->\n" + PAGE.format("other"))
    with pytest.raises(pytest.skip.Exception, match="needs no_such_library"):
        run("<!-- needs: jax, no_such_library -->\n\n" + PAGE.format("other"))


@each_page
def test_links_of_a_page_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("api")


@pytest.fixture
def names(generator):
    """Provides the module of public names, without the changes that a test has made."""
    module = importlib.import_module("sitegen.names")
    module.public_names.cache_clear()
    yield module
    module.public_names.cache_clear()


def test_the_list_of_names_is_current(generator):
    written = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert written == generator.page(), "run `make api`"


def test_the_origins_of_the_roots_names_are_current(generator):
    assert generator.ORIGINS.read_text(encoding="utf-8") == generator.origins_module(), (
        "run `make api`"
    )


def test_a_name_without_a_docstring_stops_the_list(generator, monkeypatch):
    monkeypatch.setattr(functional_optim.adam, "__doc__", None)
    with pytest.raises(ValueError, match=r"functional_optim\.adam has no docstring"):
        generator.page()


def test_a_module_that_no_page_shows_stops_the_list(names, generator, monkeypatch):
    monkeypatch.delitem(names.MODULES, "optim.swa_utils")
    with pytest.raises(ValueError, match=r"No page shows .*swa_utils"):
        generator.page()


def test_a_name_without_a_group_stops_the_list(generator, monkeypatch):
    groups = importlib.import_module("sitegen.groups")
    monkeypatch.setattr(groups, "GROUPS", [g for g in groups.GROUPS if g.slug != "losses"])
    with pytest.raises(ValueError, match=r'has no group\. Add "losses" to'):
        generator.page()


def modules(of: ModuleType) -> list[str]:
    """Returns the names of a package and of all modules in it but the command line's."""
    found = pkgutil.walk_packages(of.__path__, f"{of.__name__}.")
    return [of.__name__, *(m.name for m in found if not m.name.endswith("__main__"))]


@pytest.mark.parametrize("name", modules(functional_optim))
def test_every_exported_object_has_a_docstring(name):
    """The linter does not check functions that decorators make."""
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", ()):
        value = getattr(module, exported)
        if callable(value) and getattr(value, "__module__", "").startswith("functional_optim"):
            assert inspect.getdoc(value), exported


@pytest.mark.parametrize("name", modules(functional_optim.algorithms)[1:])
def test_an_algorithm_shows_an_example_and_its_source(name):
    module = importlib.import_module(name)
    for exported in set(module.__all__) & set(functional_optim.__all__):
        text = inspect.getdoc(getattr(module, exported))
        assert "\nExample:\n" in text, exported
        assert "\nReference: " in text, exported
