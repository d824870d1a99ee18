"""The tables of the guides say what the code does."""

import re

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

from .test_docs import ROOT, run

GUIDES = ROOT / "docs" / "guides"
CHOICE = (GUIDES / "which_optimizer.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \|.*\| ([\d.]+) \| ([\w, ]*?) ?\|$", re.MULTILINE)
MATRIX = jax.ShapeDtypeStruct((1024, 4096), jnp.float32)
GIVEN = {
    "params": MATRIX,
    "value": jax.ShapeDtypeStruct((), jnp.float32),
    "grad": MATRIX,
    "value_fn": jnp.sum,
    "obj_fn": jnp.sum,
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
    assert round(fo.describe(tx, MATRIX).nbytes / MATRIX.size, 3) == float(size)
    given = {need: GIVEN[need] for need in needs.split(", ") if need}
    update(tx, given)
    for need in given:
        with pytest.raises(ValueError, match=need):
            update(tx, {name: x for name, x in given.items() if name != need})
