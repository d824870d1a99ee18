"""Wishes of optax's users about narrow dtypes; docs/asked_for.md has the list."""

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo


def test_adamw_on_bfloat16_parameters_ends_where_it_does_on_float32():
    """Makes a thousand steps of 1e-4 down from 1, which bfloat16 alone does not leave."""
    adamw = fo.adamw(1e-4)

    def trained(tx, start):
        def one(carry, _):
            p, state = carry
            u, state = tx.update(jnp.ones_like(p), state, p)
            return (fo.apply_updates(p, u), state), None

        return jax.lax.scan(one, (start, tx.init(start)), length=1000)[0][0]

    exact = trained(adamw, jnp.float32(1.0))
    narrow = trained(fo.chain(adamw, fo.master_weights()), jnp.bfloat16(1.0))
    alone = trained(adamw, jnp.bfloat16(1.0))
    np.testing.assert_allclose(exact, 0.9, rtol=1e-3)
    np.testing.assert_allclose(narrow.astype(jnp.float32), exact, rtol=1e-2)
    assert alone == 1.0
