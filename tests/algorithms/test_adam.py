import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..oracles import adam as oracles

B2 = (0.9, 0.99, 0.999, 0.9999)
STEPS = (1, 2, 3, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


def test_moments_of_a_constant_gradient_are_off_by_few_roundings_at_every_step():
    """The state keeps m and v, which stop short of their limits by a rounding over 1 - beta."""
    g = jnp.array([1.0, -0.1, 3e-6, 700.0, -2.5e8])
    tx = fo.scale_by_adam()
    states = jax.vmap(lambda b2: fo.set_hyperparams(tx.init(g), b2=b2))(jnp.array(B2))

    @jax.jit
    def advance(states, n):
        def update(_, states):
            return jax.vmap(lambda s: tx.update(g, s)[1])(states)

        return jax.lax.fori_loop(0, n, update, states)

    done = 0
    for t in STEPS:
        states, done = advance(states, t - done), t
        assert states.count.tolist() == [t] * len(B2)
        for b2, m, v in zip(B2, states.mu, states.nu, strict=True):
            for found, x, b in ((m, np.float64(g), 0.9), (v, np.square(np.float64(g)), b2)):
                expected = x * -np.expm1(t * np.log(np.float64(np.float32(b))))
                rtol = 1e-6 + 1.2e-7 / (1 - b)
                np.testing.assert_allclose(found, expected, rtol=rtol, err_msg=f"t={t}, b={b}")


def numbered(before, after, change):
    """Returns a beta that changes after `change` steps, for the oracle."""
    return lambda t: before if t <= change else after


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "how",
    [{}, {"amsgrad": True}, {"nesterov": True}, {"nesterov": True, "momentum_decay": 0.1}],
    ids=str,
)
@pytest.mark.parametrize("b1", [(0.9, 0.5), (0.5, 0.95), (0.0, 0.9), (0.9, 0.0)])
@pytest.mark.parametrize("b2", [(0.999, 0.9), (0.9, 0.9999)])
def test_betas_edited_during_the_run_act_on_the_moments(b1, b2, how):
    grads = problem.normal(np.float64, 0, (12,))
    params = problem.arrays(np.float64)
    tx = fo.scale_by_adam(b1=b1[0], b2=b2[0], **how)
    state, update = tx.init(params), jax.jit(tx.update)
    oracle = oracles.scale_by_adam(b1=numbered(*b1, 5), b2=numbered(*b2, 5), **how)
    for t in range(12):
        if t == 5:
            state = fo.set_hyperparams(state, b1=b1[1], b2=b2[1])
        g = {k: v[t] for k, v in grads.items()}
        updates, state = update(jax.tree.map(jnp.asarray, g), state)
        for k, expected in oracle(g, g).items():
            np.testing.assert_allclose(updates[k], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_a_scheduled_beta_acts_on_the_moments():
    tx = fo.scale_by_adam(b1=fo.linear_schedule(0.5, 0.9, 8), b2=fo.linear_schedule(0.9, 0.99, 8))
    oracle = oracles.scale_by_adam(
        b1=lambda t: 0.5 + 0.4 * (t - 1) / 8, b2=lambda t: 0.9 + 0.09 * (t - 1) / 8
    )
    grads = problem.normal(np.float64, 0, (8,))
    _, _, ours = problem.train(tx, problem.arrays(np.float64), jax.tree.map(jnp.asarray, grads))
    for t in range(8):
        for k, expected in oracle({k: v[t] for k, v in grads.items()}, grads).items():
            np.testing.assert_allclose(ours[k][t], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_a_leaf_at_rest_while_a_beta_changes_keeps_its_moments():
    grads = np.random.default_rng(0).standard_normal((6, 3))
    betas = (0.9, 0.9, 0.5, 0.7, 0.2, 0.8)  # one for each step; the leaf rests at 2 and 3
    tx = fo.scale_by_adam()
    update = jax.jit(tx.update)
    state = tx.init({"w": jnp.zeros(3), "other": jnp.zeros(3)})
    m = v = 0.0
    own_t = 0
    for t, (b1, g) in enumerate(zip(betas, grads, strict=True)):
        rests = t in (2, 3)
        state = fo.set_hyperparams(state, b1=b1)
        updates, state = update({"w": None if rests else jnp.asarray(g), "other": g}, state)
        if rests:
            continue
        own_t += 1
        m, v = b1 * m + (1 - b1) * g, 0.999 * v + 0.001 * g**2
        expected = m / (1 - b1**own_t) / (np.sqrt(v / (1 - 0.999**own_t)) + 1e-8)
        np.testing.assert_allclose(updates["w"], expected, rtol=1e-12)


def test_second_moment_of_bfloat16_gradients_does_not_stall():
    steps = 3000
    grads = jnp.asarray(np.random.default_rng(0).standard_normal((steps, 64)), jnp.bfloat16)
    _, state, _ = problem.train(fo.scale_by_adam(), jnp.zeros(64, jnp.bfloat16), grads)
    squares = np.square(np.asarray(grads, np.float64))
    weights = 0.001 * 0.999 ** np.arange(steps - 1, -1, -1)
    np.testing.assert_allclose(state.nu.mean(), (weights @ squares).mean(), rtol=0.01)


def test_a_first_step_is_the_sign_of_the_gradient():
    g = jnp.array([3.0, -1e-4, 7e8])
    tx = fo.adam(0.5)
    updates, _ = tx.update(g, tx.init(g))
    np.testing.assert_allclose(updates, [-0.5, 0.5, -0.5], rtol=1e-4)


def test_adamw_decays_by_the_learning_rate_times_the_weights():
    params = jnp.array([2.0, -4.0])
    tx = fo.adamw(0.1, weight_decay=0.5)
    updates, _ = tx.update(jnp.zeros(2), tx.init(params), params)
    np.testing.assert_allclose(updates, [-0.1, 0.2], rtol=1e-6)
