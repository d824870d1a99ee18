import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem


@pytest.mark.parametrize("b2", [0.0, 0.5, 0.9, 0.999])
def test_the_norm_is_the_largest_gradient_so_far_faded(b2):
    grads = problem.normal(np.float32, 0, (50,))["b"]
    _, state, _ = problem.train(
        fo.scale_by_adamax(b2=b2, eps=0.0), jnp.zeros(4), jnp.asarray(grads, jnp.float32)
    )
    fading = b2 ** np.arange(49.0, -1, -1)[:, None]
    np.testing.assert_allclose(state.nu, (fading * np.abs(grads)).max(axis=0), rtol=5e-6)


def test_a_spike_shortens_the_steps_until_it_has_faded():
    grads = jnp.array([[8.0], *([[1.0]] * 6)])
    _, _, updates = problem.train(fo.scale_by_adamax(b1=0.0, b2=0.5, eps=0.0), jnp.zeros(1), grads)
    assert updates[:, 0].tolist() == [1.0, 0.25, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_eps_stands_within_the_maximum():
    tx = fo.scale_by_adamax(b2=0.5, eps=1.0)
    state = tx.init(jnp.zeros(2))
    updates, state = tx.update(jnp.array([3.0, 0.0]), state)
    np.testing.assert_allclose(updates, [0.75, 0.0], rtol=1e-6)
    _, state = tx.update(jnp.zeros(2), state)
    assert state.nu.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_zero_gradient_moves_nothing(dtype):
    g = jnp.zeros(2, dtype)
    tx = fo.adamax(0.1)
    updates, _ = tx.update(g, tx.init(g))
    assert (updates == 0).all()


def test_adamaxw_decays_by_the_learning_rate_times_the_weights():
    params = jnp.array([2.0, -4.0])
    tx = fo.adamaxw(0.1, weight_decay=0.5)
    updates, _ = tx.update(jnp.zeros(2), tx.init(params), params)
    np.testing.assert_allclose(updates, [-0.1, 0.2], rtol=1e-6)
