"""Optimizers of matrices in 8 bits: which slots, how near, and whose blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.core.leaf.quantized import QuantizedArray

SHAPE = (2, 32, 512)
AXES = {"w": fo.MatrixAxes(1, 2)}
LIMITED = {"axes": AXES, "max_precond_dim": 32}
RULES = {
    "muon": fo.muon(0.01, muon_weight_dimension_numbers=AXES),
    "soap": fo.soap(0.01, precondition_frequency=2, **LIMITED),
    "shampoo": fo.shampoo(0.01, **LIMITED),
}
MOMENTS = {
    "muon": {"muon_momentum.mu.w"},
    "soap": {"scale_by_soap.mu.w", "scale_by_soap.nu.w"},
    "shampoo": {"scale_by_shampoo.mu.w"},
}
each = pytest.mark.parametrize("name", RULES)


def gradients(seed):
    return {"w": jax.random.normal(jax.random.key(seed), SHAPE)}


def quantized(state):
    """Returns the quantized arrays by their names."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        state, is_leaf=lambda x: isinstance(x, QuantizedArray)
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): x
        for path, x in leaves
        if isinstance(x, QuantizedArray)
    }


@each
def test_moments_have_few_bits_and_updates_are_near_those_of_32(name):
    tx, params = RULES[name], gradients(0)
    low = fo.low_bit_state(tx)
    state, held = tx.init(params), low.init(params)
    assert quantized(held).keys() == MOMENTS[name]  # and neither factors nor bases
    step, low_step = jax.jit(tx.update), jax.jit(low.update)
    for seed in range(1, 6):
        expected, state = step(gradients(seed), state, params)
        found, held = low_step(gradients(seed), held, params)
        distance = jnp.linalg.norm(found["w"] - expected["w"])
        assert distance <= 0.05 * jnp.linalg.norm(expected["w"])
    assert distance > 0
    for path, x in quantized(held).items():
        exact = fo.to_state_dict(state)[path]
        if path.endswith(".mu.w"):
            np.testing.assert_allclose(x.decoded(), exact, atol=0.04 * np.abs(exact).max())


@each
def test_a_block_is_of_one_matrix(name):
    tx, params = fo.low_bit_state(RULES[name]), gradients(0)
    update, state = jax.jit(tx.update), tx.init(params)
    grads = gradients(1)
    other = {"w": grads["w"].at[1].multiply(100.0)}
    for path, x in quantized(update(grads, state, params)[1]).items():
        y = quantized(update(other, state, params)[1])[path]
        np.testing.assert_array_equal(x.codes[0], y.codes[0])
        np.testing.assert_array_equal(x.scales[0], y.scales[0])
    _, state = update({"w": grads["w"].at[1].set(jnp.nan)}, state, params)
    for x in quantized(state).values():
        assert bool(jnp.isfinite(x.decoded()[0]).all())


@each
def test_a_block_is_of_one_shard(name):
    if jax.device_count() < 2:
        pytest.skip("needs two devices")
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    tx = fo.low_bit_state(RULES[name])
    for spec in (("x",), (None, "x"), (None, None, "x")):
        place = NamedSharding(mesh, PartitionSpec(*spec))
        params = jax.device_put(gradients(0), place)
        for x in quantized(tx.init(params)).values():
            assert x.codes.sharding.is_equivalent_to(place, 3)
            assert x.scales.sharding.is_equivalent_to(place, 3)
