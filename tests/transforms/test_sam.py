"""SAM and ASAM: the gradient is that of the point to which the climb leads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_close, assert_same, leaf_types

PARAMS = problem.arrays()
RHO, RATE = 0.5, 0.1


def loss(params, scale=1.0):
    return scale * sum(jnp.sum(jnp.cosh(p)) for p in jax.tree.leaves(params))


grad = jax.grad(loss)


def climb(adaptive=False, rho=RHO):
    link = fo.normalize_adaptively(0.1) if adaptive else fo.normalize()
    return fo.chain(link, fo.sgd(rho))


def by_hand(params, adaptive, steps):
    """Follows Foret et al., Algorithm 1, with Kwon et al., equation 8, in float64."""
    p = {k: np.asarray(v, float) for k, v in params.items()}
    for _ in range(steps):
        g = {k: np.sinh(v) for k, v in p.items()}
        unit = {k: np.abs(v) + 0.1 if adaptive else np.ones_like(v) for k, v in p.items()}
        norm = np.sqrt(sum(np.sum((unit[k] * g[k]) ** 2) for k in p))
        there = {k: p[k] + RHO * unit[k] ** 2 * g[k] / norm for k in p}
        p = {k: p[k] - RATE * np.sinh(there[k]) for k in p}
    return p


@functools.partial(jax.jit, static_argnums=(0, 1))
def train(tx, count, params):
    state = tx.init(params)
    for _ in range(count):
        updates, state = tx.update(grad(params), state, params, grad_fn=lambda p, i: grad(p))
        params = fo.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("opaque", [False, True])
def test_steps_are_those_of_the_paper(opaque, adaptive):
    tx = fo.sam(fo.sgd(RATE), climb(adaptive), opaque_mode=opaque)
    found, _ = train(tx, 3 if opaque else 6, PARAMS)
    assert_close(found, by_hand(PARAMS, adaptive, 3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("reset", [False, True])
def test_longer_climbs_with_stateful_optimizers_equal_those_of_optax(reset, opaque):
    ours = fo.sam(fo.adam(0.1), fo.sgd(0.1, momentum=0.9), 3, reset, opaque)
    theirs = optax.contrib.sam(optax.adam(0.1), optax.sgd(0.1, momentum=0.9), 3, reset, opaque)
    count = 2 if opaque else 6
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected, _ = train(theirs, count, PARAMS)
    assert_close(train(ours, count, PARAMS)[0], expected, rtol=1e-4, atol=1e-5)


def test_the_climb_does_not_show_at_the_point_to_evaluate_at():
    tx = fo.sam(fo.sgd(RATE), climb())
    state, params, seen = tx.init(PARAMS), PARAMS, []
    for _ in range(4):
        updates, state = tx.update(grad(params), state, params)
        params = fo.apply_updates(params, updates)
        seen.append(fo.eval_params(state, params))
    assert_same(seen[0], PARAMS)
    assert_close(seen[1], by_hand(PARAMS, False, 1), rtol=1e-5)
    assert_same(seen[2], seen[1])
    assert_close(seen[3], params, rtol=1e-6)


def test_parameters_that_someone_moved_between_steps_are_where_the_climb_begins():
    tx = fo.sam(fo.sgd(RATE), climb())
    _, state = train(tx, 2, PARAMS)
    moved = jax.tree.map(lambda p: p + 1, PARAMS)
    for _ in range(2):
        updates, state = tx.update(grad(moved), state, moved)
        moved = fo.apply_updates(moved, updates)
    expected = by_hand(jax.tree.map(lambda p: p + 1, PARAMS), False, 1)
    assert_close(moved, expected, rtol=1e-5, atol=1e-6)


def test_narrow_parameters_return_exactly_after_a_climb():
    params = problem.arrays(jnp.bfloat16)
    tx = fo.sam(fo.sgd(0.0), climb(rho=3.0))
    state = tx.init(params)
    assert_same(train(tx, 4, params)[0], params)
    assert leaf_types(train(tx, 3, params)[1]) == leaf_types(state)


def test_zero_gradients_stay_where_they_are():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    assert_same(train(fo.sam(fo.sgd(RATE), climb()), 2, zero)[0], zero)


def test_extra_arguments_reach_both_optimizers():
    tx = fo.sam(fo.polyak_sgd(), fo.polyak_sgd(), opaque_mode=True)
    updates, _ = tx.update(
        grad(PARAMS), tx.init(PARAMS), PARAMS, value=loss(PARAMS), grad_fn=lambda p, i: grad(p)
    )
    assert jnp.isfinite(updates["w"]).all()


def test_gradients_of_the_climb_are_averaged_over_devices():
    tx = fo.sam(fo.sgd(RATE), climb(), opaque_mode=True, batch_axis_name="i")

    def step(scale):
        def both(p, i):
            return jax.grad(loss)(p, scale)

        mean = jax.lax.pmean(both(PARAMS, 0), "i")
        return tx.update(mean, tx.init(PARAMS), PARAMS, grad_fn=both)[0]

    found = jax.vmap(step, axis_name="i")(jnp.array([0.0, 2.0]))
    expected = jax.tree.map(jnp.subtract, by_hand(PARAMS, False, 1), PARAMS)
    assert_close(jax.tree.map(lambda x: x[0], found), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("extra", [{}, {"grad_fn": 3}])
def test_errors_name_the_missing_argument(extra):
    tx = fo.sam(fo.sgd(RATE), climb(), opaque_mode=True)
    with pytest.raises(ValueError, match="sam: update needs grad_fn in opaque_mode"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, **extra)
    with pytest.raises(ValueError, match="sam: update needs params"):
        tx.update(PARAMS, tx.init(PARAMS))
