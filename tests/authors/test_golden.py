"""Ten steps agree with those of the authors' implementations, which `make_golden.py` has run."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from .cases import CASES
from .problem import KEPT, STEPS, drawn_gradients, gradients, start

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


def test_every_run_of_the_authors_is_compared():
    assert CASES.keys() == GOLDEN.keys()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CASES)
def test_ten_steps_are_those_of_the_authors(name):
    compare(CASES[name], GOLDEN[name])


def compare(tx, golden):
    """Takes ten steps, and compares the parameters of those that are kept."""
    names = golden[0].keys()
    params = {k: jnp.asarray(start()[k]) for k in names}
    state, last = tx.init(params), None
    for t in range(STEPS):
        here = start() | {k: np.asarray(p) for k, p in params.items()}
        grads = {k: jnp.asarray(g) for k, g in gradients(t, here).items() if k in names}
        before = {k: 0 * g for k, g in grads.items()} if last is None else gradients(t, last)
        drawn = {k: jnp.asarray(g) for k, g in drawn_gradients(t).items()}
        updates, state = tx.update(grads, state, params, previous_grad=before, drawn=drawn)
        params, last = {k: params[k] + updates[k] for k in params}, here
        if t in KEPT:
            for k, expected in golden[KEPT.index(t)].items():
                np.testing.assert_allclose(params[k].ravel(), expected, rtol=1e-9, atol=1e-11)
