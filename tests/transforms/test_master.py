import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo


def train(tx, params, steps=1000, seed=0):
    """Makes steps with one gradient for all parameters at each step."""
    draws = jax.random.normal(jax.random.key(seed), (steps,))

    def one(carry, g):
        params, state = carry
        grads = jax.tree.map(lambda p: g.astype(p.dtype), params)
        updates, state = tx.update(grads, state, params)
        return (fo.apply_updates(params, updates), state), None

    return jax.lax.scan(one, (params, tx.init(params)), draws)[0]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_parameters_are_the_rounded_ones_of_a_run_in_float32(dtype):
    start = jnp.full((), 1.5)  # exact in either
    plain = train(fo.adam(3e-4), start)[0]
    narrow, state = train(fo.chain(fo.adam(3e-4), fo.master_weights()), start.astype(dtype))
    np.testing.assert_allclose(state.master_weights.master, plain, rtol=2e-3)
    assert narrow == state.master_weights.master.astype(dtype)
    assert narrow.dtype == dtype


def test_parameters_in_float32_go_as_without():
    start = jnp.full((), 1.5)
    plain, _ = train(fo.sgd(0.1, momentum=0.9), start, steps=50)
    same, _ = train(fo.chain(fo.sgd(0.1, momentum=0.9), fo.master_weights()), start, steps=50)
    np.testing.assert_allclose(same, plain, rtol=1e-6)


def test_a_run_may_start_between_two_narrow_numbers():
    exact = jnp.float32(1.0005)
    tx = fo.master_weights()
    narrow = exact.astype(jnp.bfloat16)
    updates, _ = tx.update(jnp.zeros((), jnp.bfloat16), tx.init(exact), narrow)
    assert updates.dtype == jnp.float32
    assert narrow.astype(jnp.float32) + updates == exact
