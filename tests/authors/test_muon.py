"""Ten steps agree with the authors' implementations, which `make_muon.py` has run, and optax."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .muon import CASES
from .problem import KEPT, STEPS, gradients, start

AUTHORS = json.loads(Path(__file__).with_name("muon.json").read_text(encoding="utf-8"))


def steps(tx, names):
    """Yields the parameters after each step."""
    params = {k: jnp.asarray(start()[k]) for k in names}
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(STEPS):
        grads = gradients(t, start() | {k: np.asarray(p) for k, p in params.items()})
        updates, state = update({k: jnp.asarray(grads[k]) for k in names}, state, params)
        params = {k: params[k] + updates[k] for k in names}
        yield params


def test_every_run_of_the_authors_is_compared():
    assert CASES.keys() == AUTHORS.keys()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CASES)
def test_ten_steps_are_those_of_the_authors(name):
    authors = AUTHORS[name]
    for t, params in enumerate(steps(CASES[name], authors[0].keys())):
        for k, expected in authors[KEPT.index(t)].items() if t in KEPT else ():
            np.testing.assert_allclose(params[k].ravel(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nesterov": False, "beta": 0.8},
        {"ns_coeffs": "dion", "consistent_rms": 0.2, "adaptive": True},
        {"preconditioning": "schatten", "weight_decay": 0.1, "adam_weight_decay": 0.1},
        {"preconditioning": "aol", "ns_steps": 3, "adam_learning_rate": 0.1},
    ],
    ids=str,
)
def test_ten_steps_are_those_of_optax(options):
    arguments = fo.muon_preset("optax") | options
    arguments |= {"adam_nesterov": options.get("nesterov", True)}  # optax has one switch for both
    with jax.numpy_dtype_promotion("standard"):  # which optax needs
        theirs = list(steps(optax.contrib.muon(0.02, **options), "wb"))
    for ours, expected in zip(steps(fo.muon(0.02, **arguments), "wb"), theirs, strict=True):
        for k in "wb":
            np.testing.assert_allclose(ours[k], expected[k], rtol=1e-9, atol=1e-11)
