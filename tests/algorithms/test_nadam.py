import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem

TORCH = {"nesterov": True, "momentum_decay": 4e-3}


def normal(steps):
    return jnp.asarray(problem.normal(np.float32, 0, (steps,))["b"], jnp.float32)


def updates_of(tx, grads):
    return np.asarray(problem.train(tx, jnp.zeros(4), grads)[2])


def test_a_momentum_that_has_grown_at_once_is_constant():
    grads = normal(30)
    grown = updates_of(fo.nadam(0.1, momentum_decay=1e4), grads)
    np.testing.assert_allclose(grown, updates_of(fo.nadam(0.1), grads), rtol=2e-6)


@pytest.mark.parametrize("how", [{}, {"momentum_decay": 4e-3}], ids=["constant", "schedule"])
def test_without_momentum_it_is_adam(how):
    grads = normal(10)
    ours = updates_of(fo.nadam(0.1, b1=0.0, **how), grads)
    np.testing.assert_allclose(ours, updates_of(fo.adam(0.1, b1=0.0), grads), rtol=2e-6)


def test_the_first_step_weighs_the_gradient_once_more():
    # m = g / 10, which counts 0.9 / (1 - 0.81), and g, which counts 0.1 / (1 - 0.9).
    updates = updates_of(fo.nadam(1.0, eps=0.0), jnp.full((1, 4), -3.0))
    np.testing.assert_allclose(updates, 0.09 / 0.19 + 1, rtol=1e-6)


def test_the_product_of_momenta_is_each_parameters_own():
    tx = fo.scale_by_adam(b1=0.5, nesterov=True, momentum_decay=0.0)
    g = jnp.ones(2)
    state = tx.init({"a": g, "b": g})
    for a, b in ((g, None), (g, g), (None, None), (g, g)):
        _, state = tx.update({"a": a, "b": b}, state)
    assert state.carry["mu_product"].tolist() == [0.25**3, 0.25**2]
    assert "carry" not in fo.scale_by_adam(nesterov=True).init(g)


def test_the_schedule_is_dozats():
    state = fo.scale_by_adam(**TORCH).init(jnp.zeros(()))
    for _ in range(5):
        _, state = fo.scale_by_adam(**TORCH).update(jnp.ones(()), state)
    expected = np.prod([0.9 * (1 - 0.96 ** (0.004 * t) / 2) for t in range(1, 6)])
    np.testing.assert_allclose(state.carry["mu_product"], expected, rtol=1e-6)


def test_a_long_run_of_one_gradient_makes_unit_steps():
    tx, g = fo.scale_by_adam(**TORCH), jnp.array([2.0, -1e-3])
    run = jax.jit(
        lambda state: jax.lax.fori_loop(0, 20_000, lambda _, s: tx.update(g, s)[1], state)
    )
    state = run(tx.init(g))
    assert state.carry["mu_product"] == 0, "it has vanished"
    np.testing.assert_allclose(tx.update(g, state)[0], [1.0, -1.0], rtol=2e-5)


def test_nadamw_decays_by_the_learning_rate_times_the_weights():
    params = jnp.array([2.0, -4.0])
    tx = fo.nadamw(0.1, weight_decay=0.5, momentum_decay=4e-3)
    updates, _ = tx.update(jnp.zeros(2), tx.init(params), params)
    np.testing.assert_allclose(updates, [-0.1, 0.2], rtol=1e-6)
