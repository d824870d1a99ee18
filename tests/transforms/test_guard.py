"""Steps whose values are not finite change neither the parameters nor the inner state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem

GOOD, PARAMS = problem.arrays(seed=1), problem.arrays()
BAD = jax.tree.map(lambda x: x.at[0].set(jnp.nan), GOOD)
INNER = fo.chain(
    fo.clip_by_global_norm(1.0), fo.adam(fo.linear_schedule(1e-2, 0.0, 100), mu_dtype=jnp.bfloat16)
)


def run(tx, grads):
    step = jax.jit(problem.step_of(tx))
    params, state = PARAMS, tx.init(PARAMS)
    for g in grads:
        params, state = step(params, state, g)
    return params, state


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("bad", [BAD, jax.tree.map(lambda x: x * jnp.inf, GOOD)])
def test_steps_that_are_not_finite_leave_parameters_moments_and_clocks(bad):
    tx = fo.apply_if_finite(INNER, 5)
    params, state = run(tx, [GOOD, bad, GOOD, bad, bad])
    expected, inner = run(INNER, [GOOD, GOOD])
    assert_equal(params, expected)
    for name, link in inner._asdict().items():
        kept = {k: v for k, v in state.inner_state[name]._asdict().items() if k != "metrics"}
        assert_equal(kept, {k: link[k] for k in kept})
    found = {k: int(v) for k, v in fo.metrics(state).items() if "finite" in k}
    assert found == {"last_finite": 0, "notfinite_count": 2, "total_notfinite": 3}


def test_updates_that_are_not_finite_are_not_taken_either():
    tx = fo.apply_if_finite(fo.chain(fo.scale(1e30), fo.scale(1e30), fo.trace(0.9)), 5)
    params, state = run(tx, [GOOD])
    assert_equal(params, PARAMS)
    assert state.metrics["total_notfinite"] == 1
    assert not any(x.any() for x in jax.tree.leaves(state.inner_state.trace.trace))


def test_after_too_many_in_a_row_they_are_taken():
    tx = fo.apply_if_finite(fo.sgd(0.1), 2)
    params, _ = run(tx, [BAD] * 2)
    assert_equal(params, PARAMS)
    params, state = run(tx, [BAD] * 3)
    assert jnp.isnan(params["w"]).any()
    assert state.metrics["notfinite_count"] == 3


def test_a_finite_step_resets_the_count_in_a_row():
    _, state = run(fo.apply_if_finite(fo.sgd(0.1), 2), [BAD, BAD, GOOD, BAD])
    assert state.metrics["notfinite_count"] == 1
    assert state.metrics["total_notfinite"] == 3


def test_leaves_without_gradients_and_extra_arguments_pass():
    tx = fo.apply_if_finite(fo.scale_by_polyak(), 2)
    grads = {"w": GOOD["w"], "b": None}
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS, value=1.0, other=2)
    assert updates["b"] is None


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((3, 1), TypeError, "apply_if_finite: inner must be a pair"),
        ((INNER, -1), ValueError, "must be at least 0, got -1"),
        ((INNER, 1.5), TypeError, "must be an integer, got 1.5"),
        ((INNER, True), TypeError, "must be an integer, got True"),
    ],
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        fo.apply_if_finite(*arguments)
