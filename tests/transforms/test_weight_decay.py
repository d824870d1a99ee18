import jax.numpy as jnp
import numpy as np

import functional_optim as fo

from ..rules import matrices

PARAMS = {"w": jnp.full((2, 2), 4.0), "b": jnp.full(2, 4.0)}
ONES = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}


def decayed(**options):
    tx = fo.add_decayed_weights(0.5, **options)
    return tx.update(ONES, tx.init(PARAMS), PARAMS)[0]


def test_adds_a_multiple_of_the_parameters():
    np.testing.assert_array_equal(decayed()["w"], 3.0)
    np.testing.assert_array_equal(decayed()["b"], 3.0)


def test_a_mask_says_where():
    updates = decayed(mask=matrices)
    np.testing.assert_array_equal(updates["w"], 3.0)
    np.testing.assert_array_equal(updates["b"], 1.0)


def test_the_state_is_at_the_same_place_with_and_without_a_mask():
    with_mask, without = (fo.add_decayed_weights(0.5, mask) for mask in (matrices, None))
    assert with_mask.init(PARAMS)._fields == without.init(PARAMS)._fields
    chained = fo.chain(with_mask).init(PARAMS)
    assert chained._fields == fo.chain(without).init(PARAMS)._fields


def test_the_decay_of_bfloat16_parameters_is_taken_in_float32():
    p = jnp.array(1.0, jnp.bfloat16)
    tx = fo.chain(fo.add_decayed_weights(1e-3), fo.scale(1e3))
    updates, _ = tx.update(jnp.zeros((), jnp.float32), tx.init(p), p)
    np.testing.assert_allclose(updates, 1.0, rtol=1e-6)
