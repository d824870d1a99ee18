"""The tables of the guides agree with the code."""

import re

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

from .test_docs import ROOT, run

GUIDES = ROOT / "docs" / "guides"
CHOICE = (GUIDES / "which_optimizer.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \|.*\| ([\d.]+) \| ([\w, ]*?) ?\|$", re.MULTILINE)
MATRIX = {"kernel": jax.ShapeDtypeStruct((1024, 4096), jnp.float32)}


def total(params):
    return jnp.sum(params["kernel"])


GIVEN = {
    "params": MATRIX,
    "value": jax.ShapeDtypeStruct((), jnp.float32),
    "grad": MATRIX,
    "value_fn": total,
    "obj_fn": total,
}


@pytest.fixture(scope="module")
def optimizers():
    return run(CHOICE)["optimizers"]


def update(tx, given):
    arrays = {name: x for name, x in given.items() if not callable(x)}
    functions = {name: x for name, x in given.items() if callable(x)}

    def step(state, grads, arrays):
        return tx.update(grads, state, arrays.pop("params", None), **arrays, **functions)

    jax.eval_shape(step, jax.eval_shape(tx.init, MATRIX), MATRIX, arrays)


def test_the_table_has_every_optimizer_of_the_page(optimizers):
    assert [name for name, _, _ in ROW.findall(CHOICE)] == list(optimizers)


@pytest.mark.parametrize(("name", "size", "needs"), ROW.findall(CHOICE))
def test_bytes_and_needs_are_those_of_the_table(optimizers, name, size, needs):
    tx = optimizers[name]
    assert round(fo.describe(tx, MATRIX).nbytes / (1024 * 4096), 3) == float(size)
    given = {need: GIVEN[need] for need in needs.split(", ") if need}
    update(tx, given)
    for need in given:
        with pytest.raises(ValueError, match=need):
            update(tx, {name: x for name, x in given.items() if name != need})


@pytest.mark.parametrize("page", sorted(GUIDES.glob("*.md")), ids=lambda page: page.stem)
def test_a_guide_begins_with_the_result_for_the_reader(page):
    text = re.sub(r"<!--.*?-->\s*", "", page.read_text(encoding="utf-8"))
    assert text.split("\n\n")[1].startswith("At the end of this page ")


SEARCHED = ("gradient accumulation", "FSDP", "logging", "sweep", "LoRA", "fine-tuning", "freeze")


@pytest.mark.parametrize("words", SEARCHED)
def test_the_words_of_users_are_in_a_heading_of_a_guide(words):
    pages = [*GUIDES.glob("*.md"), *GUIDES.parent.glob("*.md")]
    headings = re.compile(rf"^#+ .*{words}", re.MULTILINE | re.IGNORECASE)
    assert any(headings.search(page.read_text(encoding="utf-8")) for page in pages)


def test_the_readme_lists_every_guide():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"docs/guides/{page.name}" in readme for page in GUIDES.glob("*.md"))
