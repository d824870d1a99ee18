import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo


def test_every_element_moves_by_the_learning_rate():
    tx, g = fo.lion(0.1, weight_decay=0.0), jnp.array([1e-20, -7.0, 0.0])
    updates, _ = tx.update(g, tx.init(g), g)
    np.testing.assert_allclose(updates, [-0.1, 0.1, 0.0])


def test_the_sign_is_of_the_interpolation_and_the_momentum_keeps_its_own_decay():
    tx = fo.scale_by_lion(b1=0.5, b2=0.75)
    state = tx.init(jnp.zeros(1))
    _, state = tx.update(jnp.array([4.0]), state)
    assert state.mu == 1.0  # 0.75 * 0 + 0.25 * 4
    updates, state = tx.update(jnp.array([-2.0]), state)
    assert updates == -1  # the sign of 0.5 * 1 - 0.5 * 2
    assert state.mu == 0.25


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_momentum_of_bfloat16_moves_like_one_of_float32(dtype):
    g = jnp.asarray(np.random.default_rng(0).standard_normal((20, 50)), jnp.float32)
    tx = fo.scale_by_lion(mu_dtype=dtype)
    state, moved = tx.init(g[0]), 0.0
    for row in g:
        updates, state = tx.update(row, state)
        moved += updates
    wide = fo.scale_by_lion()
    state, expected = wide.init(g[0]), 0.0
    for row in g:
        updates, state = wide.update(row, state)
        expected += updates
    assert np.mean(np.asarray(moved) == np.asarray(expected)) > 0.95
