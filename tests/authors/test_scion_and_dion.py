"""Ten steps agree with the authors' implementations, which `make_scion_and_dion.py` has run."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from .matrix_problem import SHAPES, first_q, gradient, start
from .problem import KEPT, STEPS
from .scion_and_dion import CASES

DATA = Path(__file__).with_name("scion_and_dion.json")
AUTHORS = json.loads(DATA.read_text(encoding="utf-8"))


def test_every_run_of_the_authors_is_compared():
    assert CASES.keys() == AUTHORS.keys()


def started(state):
    """Puts the first Q of the problem into the state, if the state has a Q."""
    if not hasattr(state, "scale_by_dion"):
        return state
    rule = state.scale_by_dion
    q = jnp.asarray(first_q(rule.q["x"].shape[1:]))[None]
    return state._replace(scale_by_dion=rule._replace(q={"x": q}))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CASES)
def test_ten_steps_are_those_of_the_authors(name):
    case = CASES[name]
    params = {"x": jnp.asarray(start(SHAPES[case.shape]))}
    state = started(case.tx.init(params))
    for t in range(STEPS):
        grads = {"x": jnp.asarray(gradient(t, np.asarray(params["x"])))}
        updates, state = case.tx.update(grads, state, params)
        params = {"x": params["x"] + updates["x"]}
        if t in KEPT:
            theirs = AUTHORS[name][KEPT.index(t)]
            np.testing.assert_allclose(params["x"].ravel(), theirs, rtol=1e-9, atol=1e-11)
