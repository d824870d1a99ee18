"""Gradients of several calls, gathered into one step."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem

PARAMS = problem.arrays()
GRADS = [problem.arrays(seed=i) for i in range(1, 7)]
NAN = jax.tree.map(lambda x: x.at[0].set(jnp.nan), GRADS[0])
INNER = fo.chain(fo.clip_by_global_norm(1.0), fo.adam(1e-2))


def run(tx, grads, params=PARAMS, **extra):
    @jax.jit
    def step(params, state, g):
        updates, state = tx.update(g, state, params, **extra)
        return fo.apply_updates(params, updates), state

    state, updated = tx.init(params), []
    for g in grads:
        params, state = step(params, state, g)
        updated.append(bool(state.updated) if "updated" in state else True)
    return params, state, updated


def mean(grads):
    return jax.tree.map(lambda *g: sum(g) / len(g), *grads)


def assert_close(a, b, **options):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), a, b)


def test_k_small_batches_are_one_large_one():
    params, state, updated = run(fo.MultiSteps(INNER, 3), GRADS)
    expected, inner, _ = run(INNER, [mean(GRADS[:3]), mean(GRADS[3:])])
    assert_close((params, state.inner_opt_state), (expected, inner))
    assert updated == [False, False, True] * 2
    assert (state.mini_step, state.gradient_step) == (0, 2)


def test_the_sum_may_be_taken_instead():
    params, *_ = run(fo.MultiSteps(fo.sgd(0.1), 2, use_grad_mean=False), GRADS[:2])
    expected, *_ = run(fo.sgd(0.2), [mean(GRADS[:2])])
    assert_close(params, expected)


def test_parameters_do_not_change_between_steps():
    params, *_ = run(fo.MultiSteps(INNER, 3), GRADS[:2])
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


def test_multi_steps_equal_those_of_optax():
    theirs = optax.MultiSteps(optax.adam(1e-2), 2)
    params, state = PARAMS, theirs.init(PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        ours, *_ = run(fo.MultiSteps(optax.adam(1e-2), 2), GRADS)
        for g in GRADS:
            updates, state = theirs.update(g, state, params)
            params = optax.apply_updates(params, updates)
    assert_close(ours, params)


def test_k_may_follow_the_steps():
    tx = fo.MultiSteps(fo.sgd(0.1), lambda step: jnp.where(step < 1, 1, 2))
    *_, updated = run(tx, GRADS[:5])
    assert updated == [True, False, True, False, True]


def test_nan_does_not_remain_in_the_next_sum():
    _, state, _ = run(fo.MultiSteps(fo.sgd(0.1), 2), [NAN, GRADS[0]])
    assert not any(jnp.isnan(x).any() for x in jax.tree.leaves(state.acc_grads))
    tx = fo.MultiSteps(fo.apply_if_finite(INNER, 5), 2)
    params, *_ = run(tx, [GRADS[0], NAN, GRADS[1], GRADS[2]])
    expected, *_ = run(INNER, [mean(GRADS[1:3])])
    assert_close(params, expected)


def test_a_mini_step_that_is_not_finite_is_left_out_and_does_not_count():
    tx = fo.MultiSteps(INNER, 2, should_skip_update_fn=fo.skip_not_finite)
    params, state, updated = run(tx, [GRADS[0], NAN, GRADS[1]])
    expected, *_ = run(INNER, [mean(GRADS[:2])])
    assert_close(params, expected)
    assert updated == [False, False, True]
    _, state, updated = run(tx, [GRADS[0], GRADS[1], NAN])
    assert updated[-1] is False
    assert state.skip_state["should_skip"]
    bad = sum(int(np.isnan(x).sum()) for x in jax.tree.leaves(NAN))
    assert state.skip_state["num_not_finite"] == bad > 1


def test_a_mini_step_of_large_gradients_is_left_out():
    skip = functools.partial(fo.skip_large_updates, max_squared_norm=100.0)
    tx = fo.MultiSteps(INNER, 1, should_skip_update_fn=skip)
    large = jax.tree.map(lambda g: 100 * g, GRADS[0])
    _, state, updated = run(tx, [large, NAN, GRADS[0]])
    assert updated == [False, False, True]
    assert state.skip_state["norm_squared"] < 100


def test_the_inner_transformation_runs_only_where_it_emits():
    calls = []

    def update(updates, state, params=None):
        jax.debug.callback(lambda: calls.append(1))
        return updates, state

    inner = fo.GradientTransformation(lambda params: (), update)
    run(fo.MultiSteps(inner, 3), GRADS[:3])
    jax.effects_barrier()
    assert len(calls) == 1


def test_narrow_gradients_are_added_up_in_float32():
    params = {"w": jnp.zeros(1, jnp.bfloat16)}
    grads = [{"w": jnp.full(1, x, jnp.bfloat16)} for x in [256.0] + [1.0] * 255]
    tx = fo.MultiSteps(fo.sgd(1.0), 256, use_grad_mean=False)
    assert tx.init(params).acc_grads["w"].dtype == jnp.float32
    assert run(tx, grads, params)[0]["w"] == -512  # in bfloat16 it would stay at 256


@pytest.mark.parametrize("kept", [jnp.bfloat16, jnp.float32])
def test_the_sums_may_be_kept_in_another_dtype(kept):
    params, grads = {"w": jnp.zeros(1, jnp.bfloat16)}, [{"w": jnp.ones(1, jnp.bfloat16)}] * 2
    tx = fo.MultiSteps(fo.sgd(1.0), 2, accumulator_dtype=kept)
    _, state, _ = run(tx, grads[:1], params)
    assert state.acc_grads["w"].dtype == kept
    assert run(tx, grads, params)[0]["w"] == -1
    complex_params = {"w": jnp.zeros(1, jnp.complex64)}
    assert tx.init(complex_params).acc_grads["w"].dtype == jnp.complex64


def test_extra_arguments_reach_the_inner_transformation():
    params, *_ = run(fo.MultiSteps(fo.polyak_sgd(), 2), GRADS[:2], value=1.0)
    assert not jnp.allclose(params["w"], PARAMS["w"])


def test_a_leaf_without_a_gradient_does_not_change_and_keeps_its_sum():
    tx = fo.MultiSteps(fo.sgd(1.0), 2)
    state = tx.init(PARAMS)
    _, state = tx.update(GRADS[0], state, PARAMS)
    updates, state = tx.update({"w": GRADS[1]["w"], "b": None}, state, PARAMS)
    assert updates["b"] is None


def test_it_is_a_pair_that_goes_anywhere_and_pickles():
    tx = fo.MultiSteps(INNER, 2)
    assert pickle.loads(pickle.dumps(tx)) == tx
    assert hash(tx) == hash(fo.MultiSteps(INNER, 2))
    assert isinstance(pickle.loads(pickle.dumps(tx)), fo.MultiSteps)
    assert tx.gradient_transformation() is tx
    _, state, _ = run(fo.chain(tx, fo.scale(0.5)), GRADS[:2])
    assert state.MultiSteps.gradient_step == 1


def test_it_is_carried_by_scan():
    tx = fo.MultiSteps(INNER, 3)
    stacked = jax.tree.map(lambda *g: jnp.stack(g), *GRADS)
    params, *_ = problem.train(tx, PARAMS, stacked)
    assert_close(params, run(tx, GRADS)[0])


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((3, 2), TypeError, "MultiSteps: opt must be a pair"),
        ((INNER, 0), ValueError, "must be at least 1, got 0"),
        ((INNER, 2.5), TypeError, "must be an integer or a function of the step, got 2.5"),
        ((INNER, True), TypeError, "must be an integer or a function"),
        ((INNER, 2, True, None, int), TypeError, "accumulator_dtype must be a floating-point"),
    ],
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        fo.MultiSteps(*arguments)


def test_a_sum_whose_last_gradient_is_none_waits_for_the_next_step():
    tx, params = fo.MultiSteps(fo.sgd(1.0), 2), {"a": jnp.ones(1), "b": jnp.ones(1)}
    state = tx.init(params)
    for grads in (params, {"a": params["a"], "b": None}):
        updates, state = tx.update(grads, state, params)
    assert updates["a"].tolist() == [-1.0]
    assert updates["b"] is None
    assert (state.acc_grads["a"].tolist(), state.acc_grads["b"].tolist()) == ([0.0], [1.0])
    for grads in (params, params):
        updates, state = tx.update(grads, state, params)
    assert updates["b"].tolist() == [-1.5]
