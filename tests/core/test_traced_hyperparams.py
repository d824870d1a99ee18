"""Hyperparameters that are traced values replace those of the state."""

import jax
import jax.numpy as jnp

import functional_optim as fo
from functional_optim.core.traced_hyperparams import without_traced_hyperparams


def test_a_traced_number_replaces_that_of_any_state():
    params = jnp.ones(2)
    state = fo.sgd(0.1, momentum=0.5).init(params)

    @jax.jit
    def step(state, lr):
        return fo.sgd(lr, momentum=0.5).update(params, state, params)

    updates, new = step(state, 5.0)
    assert updates.tolist() == [-5.0, -5.0]
    assert float(fo.get_hyperparams(new)["learning_rate"]) == 5.0
    assert step(new, 1.0)[0].tolist() == [-1.5, -1.5]
    assert step._cache_size() == 1


def test_a_traced_number_of_a_schedule_is_used():
    params = jnp.ones(1)
    state = fo.sgd(fo.linear_schedule(1.0, 0.0, 4)).init(params)

    @jax.jit
    def step(state, peak):
        return fo.sgd(fo.linear_schedule(peak, 0.0, 4)).update(params, state, params)

    _, state = step(state, 8.0)
    assert step(state, 8.0)[0].tolist() == [-6.0]


def test_without_them_the_numbers_of_the_state_are_used():
    params = jnp.ones(2)
    state = fo.sgd(0.5).init(params)

    @jax.jit
    def step(state, lr):
        return without_traced_hyperparams(fo.sgd(lr)).update(params, state, params)[0]

    assert step(state, 5.0).tolist() == [-0.5, -0.5]


def test_a_sweep_over_transformations_that_are_dropped_has_one_update():
    def made(lr):
        return id(fo.rmsprop(lr, decay=0.8765).update)

    assert len({made(lr) for lr in (0.1, 0.2, 0.3)}) == 1
