import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

NOISE = np.random.default_rng(0).standard_normal((2000, 10)).astype(np.float32)


def run(tx, steps, start=5.0):
    """Returns parameters and averages after each step on a bowl with noisy gradients."""

    def step(carry, noise):
        p, state = carry
        u, state = tx.update(p + noise, state, p)
        p = fo.apply_updates(p, u)
        return (p, state), (p, state.scale_by_asgd.ax)

    p = jnp.full(10, start)
    return jax.jit(lambda: jax.lax.scan(step, (p, tx.init(p)), NOISE[:steps])[1])()


@pytest.mark.parametrize(("t0", "first"), [(-1.0, 1), (0.0, 2), (3.0, 5), (float("inf"), None)])
def test_the_average_is_the_mean_of_the_parameters_from_update_t0_plus_2(t0, first):
    params, averages = run(fo.asgd(0.1, t0=t0), 12)
    for t in range(1, 13):
        since = t if first is None or t < first else first
        expected = params[since - 1 : t].mean(axis=0)
        np.testing.assert_allclose(averages[t - 1], expected, rtol=1e-5, err_msg=str(t))


def test_the_average_is_nearer_than_the_last_parameters():
    params, averages = run(fo.asgd(0.1, lambd=0.0, t0=100.0), 2000)
    assert np.linalg.norm(averages[-1]) < 0.25 * np.linalg.norm(params[-1])


def test_before_the_first_update_the_average_is_the_parameter():
    params = {"w": jnp.array([1.0, 2.0])}
    assert fo.asgd(0.1).init(params).scale_by_asgd.ax["w"].tolist() == [1.0, 2.0]


def test_a_learning_rate_takes_effect_one_update_late():
    tx = fo.asgd(0.5, lambd=0.0)
    state, found = tx.init(0.0), []
    for rate in (0.5, 0.5, 0.25, 0.25):
        u, state = tx.update(1.0, fo.set_hyperparams(state, learning_rate=rate), 0.0)
        found.append(float(u))
    assert found == [-0.5, -0.5, -0.5, -0.25]


def test_the_rate_slows_by_the_updates_of_each_parameter():
    tx = fo.scale_by_asgd(1.0, lambd=1.0, alpha=1.0)
    p = {"a": 0.0, "b": 0.0}
    _, state = tx.update({"a": 1.0, "b": None}, tx.init(p), p)
    updates, _ = tx.update({"a": 1.0, "b": 1.0}, state, p)
    assert (updates["a"], updates["b"]) == (0.5, 1.0)
