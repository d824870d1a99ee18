"""Each public name is on one page of a group, with a sentence that says what it does."""

import importlib
import inspect
import re

import pytest

from tests.test_prose import NOT_A_VERB

HOUSE_FORM = re.compile(r"[A-Z][\w'-]*(?:(?: [\w'-]+){0,5}: | for matrices, )")
"""`AdamW: ...` or `Muon for matrices, ...`, with which the docstring of an optimizer begins."""


@pytest.fixture
def groups():
    return importlib.import_module("sitegen.groups")


@pytest.fixture
def names():
    return importlib.import_module("sitegen.names")


def summary(name):
    docstrings = importlib.import_module("sitegen.docstrings")
    reading = importlib.import_module("sitegen.reading")
    return " ".join(docstrings.parsed(reading.doc(name.module, name.name)).summary.split())


def test_every_public_name_is_in_one_group(groups, names):
    shown = [name.full for listed in groups.grouped().values() for name in listed]
    assert len(shown) == len(set(shown))
    also = {alias for name in names.public_names() for alias in name.aliases}
    public = set()
    for below in names.MODULES:
        module = importlib.import_module(f"functional_optim.{below}".rstrip("."))
        values = {name: getattr(module, name) for name in module.__all__}
        public |= {f"{module.__name__}.{n}" for n, v in values.items() if not inspect.ismodule(v)}
    assert {*shown, *also} == public


def test_every_group_has_names(groups):
    assert [group.slug for group, listed in groups.grouped().items() if not listed] == []


def test_every_place_of_a_group_exists(groups):
    for group in groups.GROUPS:
        for place in group.places:
            module, _, name = place.partition(":")
            found = importlib.import_module(f"functional_optim.{module}")
            assert not name or hasattr(found, name), place


def test_a_new_algorithm_is_an_optimizer_unless_it_describes_matrices(groups, names):
    by_name = {name.name: name for name in names.public_names()}
    assert groups.group_of(by_name["yogi"]).slug == "optimizers"
    assert groups.group_of(by_name["scale_by_muon"]).slug == "matrix_rules"
    assert groups.group_of(by_name["mars"]).slug == "optimizers"


@pytest.mark.parametrize(
    "text", ["from ..transforms.matrices.axes import A", "from .newton_schulz import B"]
)
def test_an_import_of_a_module_of_matrices_is_found(groups, text):
    assert groups.MATRICES.search(f"import jax\n{text}\n")


def test_every_name_has_one_sentence(names):
    bad = [
        n.short
        for n in names.public_names()
        if not re.fullmatch(r"(?:[A-Z`]|torch\.).*\.", summary(n))
    ]
    bad += [n.short for n in names.public_names() if re.search(r"\w{3}\. [A-Z]", summary(n))]
    assert bad == []


def test_the_sentence_of_a_function_begins_with_a_verb(names):
    functions = [name for name in names.public_names() if inspect.isfunction(name.value)]
    bad = [f"{n.short}: {summary(n)}" for n in functions if not _says_what_it_does(n)]
    assert bad == []


def _says_what_it_does(name):
    text = summary(name)
    if "algorithms" in name.home and HOUSE_FORM.match(text):
        return True
    first = text.split()[0]
    return first.endswith("s") and first not in NOT_A_VERB


def test_a_group_shows_papers_with_their_addresses(groups):
    index = importlib.import_module("sitegen.index")
    listed = groups.grouped()
    group = next(group for group in listed if group.slug == "optimizers")
    page = index.group_page(group, listed[group])
    row = next(line for line in page.split("\n") if line.startswith("| [`adamw`]"))
    assert "[Loshchilov & Hutter 2019](https://arxiv.org/abs/1711.05101)" in row
