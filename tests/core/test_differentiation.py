"""Hyperparameters are values: training can be differentiated with respect to each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..rules import each_link
from ..trees import assert_finite, settable

NUMBERS = {
    "learning_rate": 0.05,
    "b1": 0.8,
    "b2": 0.95,
    "eps": 1e-3,
    "weight_decay": 0.2,
}


def loss(params):
    return sum(jnp.sum(jnp.square(x - 1.0)) for x in jax.tree.leaves(params))


def loss_after(tx, params, state):
    """Returns the loss after some steps of descent."""
    step = problem.step_of(tx)

    def body(carry, _):
        return step(*carry, jax.grad(loss)(carry[0])), None

    (params, _), _ = jax.lax.scan(body, (params, state), length=5)
    return loss(params)


def by_factory(numbers):
    params, tx = problem.arrays(np.float64), fo.adamw(**numbers)
    return loss_after(tx, params, tx.init(params))


def by_edit(numbers):
    params, tx = problem.arrays(np.float64), fo.adamw(1e-3)
    return loss_after(tx, params, fo.set_hyperparams(tx.init(params), **numbers))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("run", [by_factory, by_edit])
def test_derivatives_by_all_numbers_are_those_of_finite_differences(run):
    slopes = jax.jit(jax.grad(run))(NUMBERS)
    evaluate = jax.jit(run)
    for name, slope in slopes.items():
        h = 1e-5 * NUMBERS[name]
        above, below = (evaluate({**NUMBERS, name: NUMBERS[name] + d}) for d in (h, -h))
        np.testing.assert_allclose(slope, (above - below) / (2 * h), rtol=1e-5, err_msg=name)
        assert slope != 0


@pytest.mark.usefixtures("x64")
def test_derivatives_by_the_numbers_of_a_schedule_are_those_of_finite_differences():
    params = problem.arrays(np.float64)

    def run(end_value):
        tx = fo.sgd(fo.linear_schedule(0.1, end_value, 4), momentum=0.9)
        return loss_after(tx, params, tx.init(params))

    slope, h = jax.grad(run)(0.01), 1e-6
    np.testing.assert_allclose(slope, (run(0.01 + h) - run(0.01 - h)) / (2 * h), rtol=1e-6)


NOT_DIFFERENTIABLE = {
    "orthogonalize-svd": "a decomposition with equal singular values has no derivative",
    "scale_by_psgd_kron-skew": "the factors are fitted to norms that are zero there",
    "scale_by_psgd_kron-symmetric": "the factors are fitted to norms that are zero there",
}
"""Where the derivative is not finite if gradients are zero, and why."""

FORWARD_ONLY = {"orthogonalize-qdwh"}
"""Reverse mode takes no derivative of their loops, except where Python runs them."""


@each_link
def test_derivatives_through_steps_with_zero_gradients_are_finite(case):
    if case.name in NOT_DIFFERENTIABLE:
        pytest.skip(NOT_DIFFERENTIABLE[case.name])
    tx = case.make()
    step = problem.step_of(tx)

    def after(params, numbers):
        state = fo.set_hyperparams(tx.init(params), numbers)
        for _ in range(2):  # compiles faster than a scan
            params, state = step(params, state, jax.grad(loss)(params))
        return loss(params)

    # Here the gradients are zero, and depend on the parameters.
    params = {"w": np.ones((3, 4), np.float32)}
    numbers = settable(tx.init(params))
    with jax.disable_jit(case.name in FORWARD_ONLY):
        assert_finite(jax.jit(jax.grad(after, argnums=(0, 1)))(params, numbers))


def test_a_leaf_that_the_loss_ignores_does_not_spoil_the_derivative():
    tx = fo.chain(fo.clip_by_global_norm(1.0), fo.adam(0.1))

    def after(rate):
        params = {"used": jnp.zeros(3), "unused": jnp.zeros(2)}
        state = fo.set_hyperparams(tx.init(params), learning_rate=rate)
        for _ in range(2):
            grads = jax.grad(lambda p: loss(p["used"]))(params)
            params, state = problem.step_of(tx)(params, state, grads)
        return loss(params["used"])

    slope = jax.jit(jax.grad(after))(0.1)
    assert jnp.isfinite(slope)
    assert slope < 0


def test_a_leaf_that_has_not_started_does_not_spoil_the_derivative():
    tx, grads = fo.scale_by_adam(), {"started": jnp.array([1.0, 2.0]), "not": None}

    def after(b1):
        state = fo.set_hyperparams(tx.init({"started": jnp.zeros(2), "not": jnp.zeros(2)}), b1=b1)
        _, state = tx.update(grads, state)
        updates, _ = tx.update(jax.tree.map(jnp.square, grads), state)
        return updates["started"][1]

    assert jax.jit(jax.grad(after))(0.9) < 0
