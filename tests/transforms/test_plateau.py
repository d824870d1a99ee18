"""Lowering updates when a metric has stopped improving."""

import copy
import functools
import inspect
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_same

NUMBERS = {
    "factor": 0.1,
    "patience": 10,
    "rtol": 1e-4,
    "atol": 0.0,
    "cooldown": 0,
    "accumulation_size": 1,
    "min_scale": 0.0,
}


def oracle(
    values, factor, patience, rtol, atol, cooldown, accumulation_size, min_scale, mode="min"
):
    """Computes the scales after each value, word by word."""
    scale, bad, rest, window, scales = 1.0, 0, 0, [], []
    best = math.inf if mode == "min" else -math.inf
    for value in values:
        window.append(value)
        if len(window) == accumulation_size:
            mean, window = sum(window) / accumulation_size, []
            margin = 0.0 if math.isinf(best) else rtol * abs(best) + atol
            improved = mean < best - margin if mode == "min" else mean > best + margin
            best = mean if improved else best
            bad = 0 if improved or rest else bad + 1
            rest = max(rest - 1, 0)
            if bad == patience:
                scale, bad, rest = max(factor * scale, min_scale), 0, cooldown
        scales.append(scale)
    return scales


@functools.partial(jax.jit, static_argnames="mode")
def run(values, numbers, mode):
    tx = fo.reduce_on_plateau(**numbers, mode=mode)

    def body(state, value):
        updates, state = tx.update({"w": jnp.ones(())}, state, value=value)
        return state, updates["w"]

    return jax.lax.scan(body, tx.init({"w": 1.0}), values)[1]


def scales(values, mode="min", **arguments):
    """Returns the scales of the transformation, in one scan; its numbers are traced."""
    numbers = {k: float(v) for k, v in {**NUMBERS, **arguments}.items()}
    return run(jnp.array(values), numbers, mode)


RNG = np.random.default_rng(0)
VALUES = {
    "falling": (3.0 * 0.97 ** np.arange(60) + 0.1 * RNG.normal(size=60)).tolist(),
    "negative": (-2.0 - np.minimum(np.arange(60), 25) / 10 + 0.05 * RNG.normal(size=60)).tolist(),
    "through zero": (1.0 - np.minimum(np.arange(60), 20) / 10 + 0.1 * RNG.normal(size=60)).tolist(),
    "flat": [0.5] * 60,
    "flat below zero": [-0.5] * 60,
    "nan": [1.0, math.nan, 0.9, *[math.nan] * 57],
    "infinite": [math.inf, 1.0, *[0.9] * 58],
}
CASES = [
    {},
    {"patience": 1, "factor": 0.5},
    {"patience": 3, "cooldown": 4, "factor": 0.5},
    {"patience": 2, "accumulation_size": 3, "factor": 0.7},
    {"patience": 2, "factor": 0.5, "min_scale": 0.2},
    {"patience": 3, "rtol": 0.1, "mode": "max"},
    {"patience": 3, "rtol": 0.0, "atol": 0.3},
    {"patience": 3, "rtol": 1.0},
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("arguments", CASES, ids=str)
@pytest.mark.parametrize("values", VALUES.values(), ids=list(VALUES))
def test_scales_are_the_oracles(values, arguments):
    expected = oracle(values, **{**NUMBERS, **arguments})
    np.testing.assert_allclose(scales(values, **arguments), expected, rtol=1e-12)


@pytest.mark.parametrize("arguments", CASES[1:5], ids=str)
def test_scales_of_positive_metrics_are_those_of_optax(arguments):
    values = VALUES["falling"]
    with jax.numpy_dtype_promotion("standard"):
        tx = optax.contrib.reduce_on_plateau(**arguments)
        state, update, theirs = tx.init({"w": jnp.ones(())}), jax.jit(tx.update), []
        for value in values:
            updates, state = update({"w": jnp.ones(())}, state, value=value)
            theirs.append(float(updates["w"]))
    np.testing.assert_allclose(scales(values, **arguments), theirs, rtol=1e-5)


def test_arguments_are_those_of_optax():
    ours, theirs = (
        [(k, p.default) for k, p in inspect.signature(f).parameters.items()]
        for f in (fo.reduce_on_plateau, optax.contrib.reduce_on_plateau)
    )
    assert ours[: len(theirs)] == theirs
    assert dict(theirs) == NUMBERS


def test_a_negative_metric_that_does_not_fall_is_a_plateau():
    # Where the tolerance has the sign of the best, -1 counts as better than -1.
    assert scales([-1.0] * 6, patience=2, factor=0.5).tolist() == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_it_composes_in_a_chain_and_trains():
    tx = fo.chain(fo.scale_by_adam(), fo.reduce_on_plateau(0.5, 1), fo.scale_by_learning_rate(0.1))
    plain = fo.chain(fo.scale_by_adam(), fo.scale_by_learning_rate(0.1))
    params = problem.arrays()
    state, other = tx.init(params), plain.init(params)
    for loss, scale in ((2.0, 1.0), (2.0, 0.5), (1.0, 0.5), (1.0, 0.25)):
        updates, state = tx.update(params, state, params, value=loss)
        expected, other = plain.update(params, other, params)
        assert_same(updates, jax.tree.map(lambda u, s=scale: s * u, expected))
    assert state.reduce_on_plateau.scalars["scale"] == 0.25


def test_numbers_are_set_without_a_compilation_and_keep_the_state():
    tx = fo.reduce_on_plateau(factor=0.5, patience=1)
    update = jax.jit(lambda state, value: tx.update({"w": jnp.ones(())}, state, value=value))
    state = tx.init({"w": 1.0})
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state)
    for _ in range(2):
        updates, state = update(state, jnp.float32(1.0))
    assert updates["w"] == 0.5
    state = fo.set_hyperparams(state, factor=0.1, patience=2)
    found = []
    for _ in range(2):
        updates, state = update(state, jnp.float32(1.0))
        found.append(float(updates["w"]))
    assert found == [0.5, pytest.approx(0.05)]
    assert update._cache_size() == 1
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state) == shapes


def test_updates_of_many_dtypes_keep_theirs_and_none_stays():
    tx = fo.reduce_on_plateau(factor=0.5, patience=1)
    params = {"h": jnp.ones(2, jnp.bfloat16), "c": jnp.ones(2, jnp.complex64), "n": jnp.ones(2)}
    state = tx.init(params)
    assert {x.dtype for x in jax.tree.leaves(state.scalars)} == {jnp.dtype(jnp.float32)}
    for _ in range(2):
        updates, state = tx.update({**params, "n": None}, state, value=1.0)
    assert updates["n"] is None
    assert (updates["h"].dtype, updates["c"].dtype) == (jnp.bfloat16, jnp.complex64)
    assert updates["c"].tolist() == [0.5, 0.5]


def test_it_counts_where_nothing_has_a_gradient():
    tx = fo.reduce_on_plateau(factor=0.5, patience=1)
    state = tx.init({"w": 1.0})
    for _ in range(2):
        _, state = tx.update({"w": None}, state, value=1.0)
    assert state.scalars["scale"] == 0.5


def test_it_compares_hashes_copies_and_pickles():
    tx = fo.reduce_on_plateau(0.5, mode="max")
    for twin in (pickle.loads(pickle.dumps(tx)), copy.deepcopy(tx)):
        assert twin == tx
        assert twin.update is tx.update
        assert hash(twin) == hash(tx)
    assert fo.reduce_on_plateau(0.5).update is not tx.update


def test_the_value_is_required():
    tx = fo.reduce_on_plateau()
    with pytest.raises(ValueError, match=r"^reduce_on_plateau: update needs value\. Call"):
        tx.update({"w": 1.0}, tx.init({"w": 1.0}))
