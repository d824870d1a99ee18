"""Loss scaling: small gradients survive float16, overflows are left out, and the scale recovers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_close, assert_same, leaf_types

PARAMS = problem.arrays()
GOOD = problem.arrays(seed=1)
BAD = jax.tree.map(lambda g: g.at[0].set(jnp.inf), GOOD)


def run(tx, grads, params=PARAMS):
    step, state, seen = jax.jit(problem.step_of(tx)), tx.init(params), []
    for g in grads:
        params, state = step(params, state, g)
        seen.append((float(state.scale), int(state.growth_tracker)))
    return params, state, seen


def by_torch(found_inf, scale, growth, backoff, interval):
    """Follows torch.amp.GradScaler.update, once for each step: (scale, steps in a row)."""
    row, seen = 0, []
    for bad in found_inf:
        if bad:
            scale, row = scale * backoff, 0
        else:
            row += 1
            if row == interval:
                scale, row = scale * growth, 0
        seen.append((scale, row))
    return seen


PATTERNS = ["ggggg", "bbgbg", "gggbggggggg", "bgggbbggggggg"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("numbers", [(2.0**16, 2.0, 0.5, 3), (8.0, 4.0, 0.25, 1)])
def test_the_scale_equals_that_of_torch(pattern, numbers):
    grads = [BAD if c == "b" else GOOD for c in pattern]
    _, _, seen = run(fo.loss_scale(fo.sgd(0.1), *numbers, min_scale=0.0), grads)
    assert seen == by_torch([c == "b" for c in pattern], *numbers)


def test_the_defaults_are_those_of_torch():
    numbers = {
        k: float(v) for k, v in fo.get_hyperparams(fo.loss_scale(fo.sgd(1.0)).init({})).items()
    }
    assert (numbers["growth_factor"], numbers["backoff_factor"]) == (2.0, 0.5)
    assert numbers["growth_interval"] == 2000
    assert fo.loss_scale(fo.sgd(1.0)).init({}).scale == 2.0**16


def test_steps_are_those_of_the_unscaled_loss_without_the_overflows():
    tx, inner = fo.loss_scale(fo.adam(0.1), 1024.0, growth_interval=2), fo.adam(0.1)
    params, state = PARAMS, tx.init(PARAMS)
    expected, inner_state = PARAMS, inner.init(PARAMS)
    for bad in (False, True, False, False, False):
        grads = jax.tree.map(lambda g, s=state.scale: g * s, BAD if bad else GOOD)
        params, state = problem.step_of(tx)(params, state, grads)
        if not bad:
            expected, inner_state = problem.step_of(inner)(expected, inner_state, GOOD)
    assert_close(params, expected, rtol=1e-6)
    assert_close(state.inner_state, inner_state, rtol=1e-6)
    assert {k: int(v) for k, v in fo.metrics(state).items()} == {
        "last_finite": 1,
        "notfinite_count": 0,
        "total_notfinite": 1,
    }


def loss(params, x):
    return jnp.mean((x * params["w"]) ** 2 * np.float16(1e-4))


def test_gradients_that_float16_cannot_hold_train_nevertheless():
    params, x = {"w": jnp.ones(4, jnp.float16)}, jnp.full(4, 0.01, jnp.float16)
    assert not jax.grad(loss)(params, x)["w"].any()

    tx = fo.loss_scale(fo.sgd(1.0))
    state = tx.init(params)
    scaled = jax.jit(jax.grad(lambda p, s: fo.scale_loss(loss(p, x), s)))
    for _ in range(4):
        updates, state = tx.update(scaled(params, state), state, params)
    assert fo.metrics(state)["last_finite"] == 1
    np.testing.assert_allclose(updates["w"], -5e-9, rtol=0.05)
    assert leaf_types(state) == leaf_types(tx.init(params))


@pytest.mark.parametrize(
    ("arguments", "least"), [({}, 1.0), ({"min_scale": 8.0}, 8.0), ({"init_scale": 0.25}, 0.25)]
)
def test_the_scale_does_not_fall_below_the_least_and_training_continues(arguments, least):
    """torch's becomes 0 after 166 such steps, from where no step is finite."""
    tx = fo.loss_scale(fo.sgd(1.0), **arguments)
    state = tx.init(PARAMS)
    step = jax.jit(lambda state, g: tx.update(g, state, PARAMS))
    for _ in range(200):
        _, state = step(state, BAD)
    assert state.scale == least
    assert fo.metrics(state)["notfinite_count"] == 200
    updates, state = step(state, jax.tree.map(lambda g: g * state.scale, GOOD))
    assert_close(updates, jax.tree.map(jnp.negative, GOOD), rtol=1e-6)
    assert fo.metrics(state)["notfinite_count"] == 0
    assert fo.metrics(state)["total_notfinite"] == 200


def test_the_scale_stays_finite():
    _, state, _ = run(fo.loss_scale(fo.sgd(0.0), 2.0**127, growth_interval=1), [GOOD] * 3)
    assert state.scale == 2.0**127


def test_numbers_can_be_set_and_the_scale_is_found_at_any_depth():
    tx = fo.chain(fo.MultiSteps(fo.loss_scale(fo.sgd(0.1), 8.0), 1))
    state = fo.set_hyperparams(tx.init(PARAMS), growth_interval=1)
    _, state = jax.jit(tx.update)(GOOD, state, PARAMS)
    assert fo.scale_loss(jnp.bfloat16(2.0), state) == 32.0
    assert fo.scale_loss(2.0, state).dtype == jnp.float32


@pytest.mark.parametrize("number", [0, 2])
def test_a_loss_has_one_scale(number):
    state = {i: fo.loss_scale(fo.sgd(0.1)).init(PARAMS) for i in range(number)}
    with pytest.raises(ValueError, match=f"must have one loss_scale, and has {number}."):
        fo.scale_loss(1.0, state)


def test_overflows_change_no_bit_of_the_parameters():
    params, state, _ = run(fo.loss_scale(fo.adamw(0.1, weight_decay=0.5)), [BAD, BAD])
    assert_same(params, PARAMS)
    assert state.inner_state.scale_by_adam.count == 0
