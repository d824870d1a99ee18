"""Differential privacy: one example changes the mean by no more than the bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import contrib

PARAMS = {"w": jnp.zeros((4, 3)), "b": jnp.zeros(3)}
RNG = np.random.default_rng(0)
GRADS = {
    "w": jnp.asarray(RNG.standard_normal((5, 4, 3)), jnp.float32),
    "b": jnp.asarray(RNG.standard_normal((5, 3)), jnp.float32),
}


def aggregate(*numbers, key=0):
    tx = contrib.differentially_private_aggregate(*numbers, key=key)
    return tx.update(GRADS, tx.init(PARAMS), PARAMS)


def clipped_mean(bound):
    """Follows Abadi et al., Algorithm 1, without noise."""
    sums = {k: np.zeros(v.shape[1:]) for k, v in GRADS.items()}
    for i in range(5):
        norm = np.sqrt(sum(np.sum(np.square(g[i], dtype=np.float64)) for g in GRADS.values()))
        for k, g in GRADS.items():
            sums[k] += np.asarray(g[i], np.float64) / max(1.0, norm / bound)
    return {k: v / 5 for k, v in sums.items()}


@pytest.mark.parametrize("bound", [0.1, 3.5, 100.0])
def test_without_noise_it_is_the_mean_of_clipped_gradients(bound):
    found, _ = aggregate(bound, 0.0)
    for k, expected in clipped_mean(bound).items():
        np.testing.assert_allclose(found[k], expected, rtol=1e-5, atol=1e-7)


def test_no_bound_and_no_noise_is_the_mean():
    found, state = aggregate(float("inf"), 0.0)
    np.testing.assert_allclose(found["w"], jnp.mean(GRADS["w"], 0), rtol=1e-6)
    assert fo.metrics(state)["clip_factor"] == 1


def test_the_noise_has_the_stated_deviation():
    tx = contrib.differentially_private_aggregate(3.0, 2.0, key=1)
    params = jnp.zeros((200, 300))
    grads = jnp.zeros((4, 200, 300))
    updates, state = tx.update(grads, tx.init(params), params)
    again, _ = tx.update(grads, state, params)
    for found in (updates, again):
        np.testing.assert_allclose(jnp.std(found), 3.0 * 2.0 / 4, rtol=0.02)
    assert jnp.any(updates != again), "each step has noise of its own"


def test_runs_with_one_key_repeat():
    one, other, another = (aggregate(1.0, 1.0, key=k)[0] for k in (7, 7, 8))
    assert jnp.all(one["w"] == other["w"])
    assert jnp.any(one["w"] != another["w"])


def test_numbers_are_of_the_state_and_may_follow_a_schedule():
    tx = contrib.dpsgd(0.1, fo.piecewise_constant_schedule(100.0, {1: 1e-3}), 0.0, 0)
    step = jax.jit(tx.update)
    first, state = step(GRADS, tx.init(PARAMS), PARAMS)
    second, state = step(GRADS, state, PARAMS)
    np.testing.assert_allclose(first["w"], -0.1 * clipped_mean(100.0)["w"], rtol=1e-4)
    np.testing.assert_allclose(second["w"], -0.1 * clipped_mean(0.1)["w"], rtol=1e-4)
    tx = contrib.dpsgd(0.1, 100.0, 0.0, 0)
    state = fo.set_hyperparams(tx.init(PARAMS), l2_norm_clip=0.1)
    updates, _ = tx.update(GRADS, state, PARAMS)
    np.testing.assert_allclose(updates["w"], -0.1 * clipped_mean(0.1)["w"], rtol=1e-4)


def test_momentum_is_of_private_gradients():
    tx = contrib.dpsgd(0.1, 0.5, 0.0, 0, momentum=0.9, nesterov=True)
    updates, state = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["b"], -0.19 * clipped_mean(0.5)["b"], rtol=1e-5)
    assert state.trace.trace["w"].shape == (4, 3)


def test_its_state_has_the_type_of_that_name():
    _, state = aggregate(1.0, 0.0)
    assert isinstance(state, contrib.DifferentiallyPrivateAggregateState)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: contrib.differentially_private_aggregate(1.0, 1.0),
            TypeError,
            "key must be an integer or a key of jax.random.key, got None",
        ),
        (
            lambda: contrib.differentially_private_aggregate(1.0, 1.0, 0, seed=1),
            ValueError,
            "seed is the older name of key",
        ),
        (lambda: contrib.dpsgd(0.1, -1.0, 1.0, key=0), ValueError, "l2_norm_clip must be in"),
        (lambda: contrib.dpsgd(0.1, 1.0, 1.0), TypeError, "key must be an integer or a key"),
        (lambda: contrib.dpsgd(0.1, 1.0, -1.0, 0), ValueError, "noise_multiplier must be in"),
        (lambda: _update({"w": jnp.ones((4, 3)), "b": jnp.ones(3)}), ValueError, "first axis"),
        (
            lambda: _update({"w": jnp.ones((5, 4, 3)), "b": jnp.ones((5, 1))}),
            ValueError,
            r"the updates at 'b' have shape \(5, 1\), and the parameter \(3,\)",
        ),
    ],
)
def test_misuse(call, error, text):
    with pytest.raises(error, match=text):
        call()


def _update(grads):
    tx = contrib.differentially_private_aggregate(1.0, 1.0, key=0)
    return tx.update(grads, tx.init(PARAMS), PARAMS)
