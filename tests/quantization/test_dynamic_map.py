import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim.quantization import dynamic_map

from ..oracles import dynamic_map as oracle

each_map = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
STARTS = 10.0 ** -np.arange(1, 8)
encode, decode = jax.jit(dynamic_map.encode), jax.jit(dynamic_map.decode)


def numbers(signed, n=4000):
    """Returns numbers of all magnitudes, starts of decades, and midpoints between table entries."""
    rng = np.random.default_rng(0)
    middles = (oracle.table(signed)[1:] + oracle.table(signed)[:-1]) / 2
    y = np.concatenate(
        [rng.uniform(0, 1, n), 10 ** rng.uniform(-9, 0, n), [0.0, 1.0], STARTS, middles]
    )
    return (y * rng.choice([-1, 1] if signed else [1], y.shape)).astype(np.float32)


@each_map
def test_codes_are_the_numbers_of_the_paper_in_order(signed):
    found = decode(jnp.arange(256, dtype=jnp.uint8), jnp.array(signed))
    np.testing.assert_allclose(found, oracle.table(signed), rtol=1e-6)
    np.testing.assert_allclose(dynamic_map.numbers(signed), oracle.table(signed), rtol=1e-12)


@each_map
def test_the_nearest_number_is_taken(signed):
    y = numbers(signed)
    found = oracle.table(signed)[encode(y, jnp.array(signed))]
    best = oracle.table(signed)[oracle.nearest(y, signed)]
    # But for the smallest: the number next to 0 is nearer than 0 from 0.275e-6 on, here 0.28e-6;
    # and without a sign, only 0 becomes 0.
    excess = np.abs(found - y) - np.abs(best - y)
    assert (excess <= np.where(np.abs(y) < 3.3e-7, 3.3e-7 if not signed else 1e-8, 1e-7)).all()


@each_map
def test_errors_are_within_the_stated_bound(signed):
    y = np.linspace(-1 if signed else 0, 1, 100_001, dtype=np.float32)
    error = np.abs(decode(encode(y, jnp.array(signed)), jnp.array(signed)) - y)
    assert error.max() <= (0.00704 if signed else 0.00352)


def test_without_a_sign_only_zero_becomes_zero():
    y = jnp.array([0.0, 1e-30, 1e-12, 1e-7, 1.6e-7], jnp.float32)
    codes = encode(y, jnp.array(False))
    assert codes[0] == 0
    assert (codes[1:] > 0).all()


@each_map
def test_rounding_at_random_is_right_in_the_mean(signed):
    y = jnp.asarray(numbers(signed, 100))
    y = y[jnp.abs(y) > 1e-6]
    y = jnp.where(signed, jnp.maximum(y, -0.99), y)  # the map has no lower number
    random = jax.random.uniform(jax.random.key(0), (20_000, *y.shape))
    signs = jnp.array(signed)
    found = decode(encode(jnp.broadcast_to(y, random.shape), signs, random), signs)
    spread = jnp.std(found, 0) / jnp.sqrt(20_000)
    assert (jnp.abs(found.mean(0) - y) < 5 * spread + 1e-6 * jnp.abs(y)).all()


def test_both_maps_may_be_used_at_once():
    y, signs = jnp.full((2, 3), 0.5), jnp.array([[True], [False]])
    codes = encode(y, signs)
    np.testing.assert_allclose(decode(codes, signs), 0.5, atol=0.008)
    assert codes[0, 0] != codes[1, 0]
