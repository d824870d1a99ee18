"""Lookahead, conditions and given names."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem

PARAMS = problem.arrays()
GRADS = [problem.arrays(seed=i) for i in range(1, 8)]


def run(tx, grads, params=PARAMS):
    state = tx.init(params)
    step = jax.jit(problem.step_of(tx))
    for g in grads:
        params, state = step(params, state, g)
    return params, state


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), a, b)


@pytest.mark.parametrize("reset", [False, True])
def test_lookahead_equals_that_of_optax_on_plain_parameters(reset):
    ours, state = run(fo.lookahead(fo.sgd(0.1, momentum=0.9), 3, 0.5, reset), GRADS)
    theirs = optax.lookahead(optax.sgd(0.1, momentum=0.9), 3, 0.5, reset)
    params = optax.LookaheadParams.init_synced(PARAMS)
    their_state = theirs.init(params)
    with jax.numpy_dtype_promotion("standard"):
        for g in GRADS:
            updates, their_state = theirs.update(g, their_state, params)
            params = optax.apply_updates(params, updates)
    close(ours, params.fast)
    close(state.look_back.slow, params.slow)


def test_lookahead_with_a_whole_slow_step_is_the_inner_optimizer():
    close(run(fo.lookahead(fo.adam(0.1), 2, 1.0), GRADS)[0], run(fo.adam(0.1), GRADS)[0])


def test_slow_weights_do_not_share_the_parameters_buffer():
    params = {"w": jnp.ones(3)}
    tx = fo.lookahead(fo.sgd(0.1), 2, 0.5)
    step = jax.jit(problem.step_of(tx), donate_argnums=(0, 1))
    state = tx.init(params)
    for _ in range(3):
        params, state = step(params, state, {"w": jnp.ones(3)})
    assert jnp.isfinite(params["w"]).all()


def test_conditions_decide_by_the_step_and_the_inner_state_rests():
    tx = fo.conditionally_transform(fo.trace(0.9), lambda step: step % 2 == 0)
    state = tx.init(PARAMS)
    _, state = tx.update(GRADS[0], state)
    u1, state = tx.update(GRADS[1], state)
    close(u1, GRADS[1])
    u2, state = tx.update(GRADS[2], state)
    close(u2, jax.tree.map(lambda a, b: 0.9 * a + b, GRADS[0], GRADS[2]))
    assert state.inner_state.count == 2


def test_conditions_may_read_extra_arguments():
    tx = fo.conditionally_mask(fo.scale(2.0), lambda step, loss, **_: loss < 1.0, True)
    for loss, factor in ((0.5, 2.0), (1.5, 0.0)):
        updates, _ = jax.jit(tx.update)(GRADS[0], tx.init(PARAMS), PARAMS, loss=loss, other=1)
        close(updates, jax.tree.map(lambda g, f=factor: f * g, GRADS[0]))


def test_given_names_stay_within_other_chains():
    inner = fo.named_chain(
        ("first", fo.scale(2.0)), ("second", fo.chain(fo.clip(1.0), fo.ema(0.9)))
    )
    state = fo.chain(fo.scale(1.0), inner, fo.scale(3.0)).init(PARAMS)
    assert state._fields == ("scale", "first", "second", "scale_1")
    assert state.second._fields == ("clip", "ema")
    close(run(inner, GRADS)[0], run(fo.chain(fo.scale(2.0), fo.clip(1.0), fo.ema(0.9)), GRADS)[0])


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: fo.lookahead(fo.sgd(0.1), 0, 0.5), ValueError, "sync_period must be at least 1"),
        (lambda: fo.lookahead(fo.sgd(0.1), 2.0, 0.5), TypeError, "sync_period must be an integer"),
        (lambda: fo.lookahead(fo.sgd(0.1), 2, 1.5), ValueError, "slow_step_size must be in"),
        (lambda: fo.lookahead(None, 2, 0.5), TypeError, "fast_optimizer must be a pair"),
        (lambda: fo.named_chain(fo.sgd(0.1)), TypeError, r"must be a pair \(name, transf"),
        (lambda: fo.named_chain(("a b", fo.sgd(0.1))), ValueError, "must be an identifier"),
        (
            lambda: fo.named_chain(("a", fo.sgd(0.1)), ("a", fo.sgd(0.1))),
            ValueError,
            "'a' is given twice",
        ),
        (lambda: fo.conditionally_mask(fo.sgd(0.1), True), TypeError, "must be a function"),
    ],
)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()
