"""Ten steps agree with the authors' implementations, which `make_sampled.py` has run."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .problem import KEPT, STEPS, gradients, start
from .sampled import CASES

AUTHORS = json.loads(Path(__file__).with_name("sampled.json").read_text(encoding="utf-8"))


def test_every_run_of_the_authors_is_compared():
    assert CASES.keys() == AUTHORS.keys()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CASES)
def test_ten_steps_are_those_of_the_authors(name):
    tx, params = CASES[name], {k: jnp.asarray(x) for k, x in start().items()}
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(STEPS):
        grads = gradients(t, {k: np.asarray(p) for k, p in params.items()})
        grads = {k: jnp.asarray(g) for k, g in grads.items()}
        updates, state = update(grads, state, params)
        params = {k: params[k] + updates[k] for k in params}
        if t in KEPT:
            for k, expected in AUTHORS[name][KEPT.index(t)].items():
                np.testing.assert_allclose(params[k].ravel(), expected, rtol=1e-9, atol=1e-11)
