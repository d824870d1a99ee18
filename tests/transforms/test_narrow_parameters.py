"""Parameters in bfloat16 and float16 that move by steps below their last place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.core.numerics.rounding import rounded
from functional_optim.testing import check_state, check_updates, check_zero_gradients

BF16, F16 = jnp.bfloat16, jnp.float16


def drift(tx, dtype, n=400, step=-1e-4, times=5000):
    """Returns parameters of 1 after equal steps, in float32."""
    params = jnp.ones(n, dtype)

    def one(carry, _):
        params, state = carry
        updates, state = tx.update(jnp.full(n, step), state, params)
        return (fo.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(one, (params, tx.init(params)), None, length=times)
    return np.asarray(params, np.float32)


@pytest.mark.parametrize(
    ("tx", "dtype", "expected", "within"),
    [
        (fo.identity(), BF16, 1.0, 0.0),  # where it stalls
        (fo.stochastic_rounding(0), BF16, 0.5, 0.01),
        (fo.stochastic_rounding(0), F16, 0.5, 0.005),
        (fo.kahan_summation(), BF16, 0.50390625, 0.0),
        (fo.kahan_summation(), F16, 0.5, 2**-11),
        (fo.master_remainder(), BF16, 0.5, 0.0),
    ],
    ids=["nearest", "random", "random-f16", "kahan", "kahan-f16", "remainder"],
)
def test_small_steps_add_up(tx, dtype, expected, within):
    assert abs(drift(tx, dtype).mean() - expected) <= within


@pytest.mark.parametrize(
    "tx", [fo.stochastic_rounding(0), fo.kahan_summation(), fo.master_remainder()]
)
def test_wide_parameters_pass(tx):
    for dtype in (np.float32, np.complex64):
        params = jnp.array([1.5, -2.0], dtype)
        updates, state = tx.update(params / 3, tx.init(params), params)
        np.testing.assert_array_equal(updates, params / 3)
        assert sum(x.size for x in jax.tree.leaves(state)) <= 4  # count, steps, key


@pytest.mark.parametrize("dtype", [BF16, F16])
def test_rounding_is_that_of_a_cast_and_is_not_left_out(dtype):
    numbers = np.arange(2**16, dtype=np.uint16).view(dtype).astype(np.float32)
    numbers = numbers[np.isfinite(numbers) & ((np.abs(numbers) > 2e-36) | (numbers == 0))]
    nearest = jax.jit(rounded, static_argnums=1)
    np.testing.assert_array_equal(nearest(numbers, dtype), numbers)
    with np.errstate(over="ignore"):
        between = numbers * np.float32(1.003)
        expected = between.astype(dtype).astype(np.float32)
    kept = np.isfinite(expected)
    np.testing.assert_array_equal(np.asarray(nearest(between, dtype))[kept], expected[kept])


@pytest.mark.parametrize("dtype", [BF16, F16])
def test_stochastic_rounding_gives_a_neighbouring_value_and_is_unbiased(dtype):
    x = jnp.array([1.001, -1.001, 3.3, 1e-3, -7e-6, 250.7], jnp.float32)
    n = 100_000
    random = jax.random.uniform(jax.random.key(0), (n, x.size))
    found = rounded(jnp.broadcast_to(x, random.shape), dtype, random)
    low, high = found.min(0), found.max(0)
    assert ((low < x) & (x < high)).all()
    assert (jnp.nextafter(low.astype(dtype), high.astype(dtype)) == high.astype(dtype)).all()
    # Three standard deviations of the mean.
    assert (jnp.abs(found.mean(0) - x) < 3 * found.std(0) / n**0.5 + 1e-9).all()


def test_numbers_of_the_dtype_are_not_rounded():
    x = jnp.array([1.0, -0.0078125, 0.0, 3e38, jnp.inf, -jnp.inf, jnp.nan], jnp.float32)
    x = x.astype(BF16).astype(jnp.float32)
    random = jnp.full(x.shape, 1 - 2**-24, jnp.float32)
    np.testing.assert_array_equal(rounded(x, BF16, random), x)
    np.testing.assert_array_equal(rounded(x, BF16, 0 * random), x)


def test_random_rounding_depends_on_key_step_and_leaf_alone(mesh):
    params = {"a": jnp.ones((8, 64), BF16), "b": jnp.ones((8, 64), BF16)}
    grads = jax.tree.map(lambda p: jnp.full(p.shape, 1e-3), params)
    tx = fo.stochastic_rounding(3)

    def two_steps(params):
        state = tx.init(params)
        first, state = tx.update(grads, state, params)
        second, _ = tx.update(grads, state, params)
        return first, second

    eager = two_steps(params)
    spread = jax.device_put(params, jax.NamedSharding(mesh, jax.P("x", "y")))
    for other in (jax.jit(two_steps)(params), jax.jit(two_steps)(spread)):
        jax.tree.map(np.testing.assert_array_equal, eager, other)
    (first, second) = eager
    assert (first["a"] != first["b"]).any()
    assert (first["a"] != second["a"]).any()
    other, _ = fo.stochastic_rounding(4).update(
        grads, fo.stochastic_rounding(4).init(params), params
    )
    assert (first["a"] != other["a"]).any()


def floats(exponents):
    """Returns mantissas of some exponents, of both signs."""
    mantissas = np.arange(2**23, dtype=np.uint32)[:: 2**7 + 1]
    bits = np.concatenate([(np.uint32(e) << 23) | mantissas for e in exponents])
    return np.concatenate([bits, bits | np.uint32(2**31)]).view(np.float32)


def joined(p, remainder):
    """Joins a number out of its halves, in NumPy's integers."""
    bits = np.asarray(p).astype(np.float32).view(np.int32) + np.asarray(remainder, np.int32)
    return bits.view(np.float32)


def started(master):
    """Returns a bfloat16 parameter of 0 and its state, after a step to `master`."""
    tx = fo.master_remainder()
    params = jnp.zeros(master.shape, BF16)
    updates, state = tx.update(jnp.asarray(master), tx.init(params), params)
    return fo.apply_updates(params, updates), state


@pytest.mark.parametrize("exponents", [(1, 2), (60, 100), (126, 127, 128), (200, 253)])
def test_parameter_and_remainder_are_every_float32(exponents):
    master = floats(exponents)
    params, state = started(master)
    np.testing.assert_array_equal(joined(params, state.remainder), master)
    # To nearest: with ties away from zero, which NumPy has not.
    error = np.abs(np.asarray(params, np.float64) - master.astype(np.float64))
    nearest = np.abs(master.astype(BF16).astype(np.float64) - master.astype(np.float64))
    np.testing.assert_array_equal(error, nearest)


def test_numbers_of_bfloat16_have_no_remainder():
    every = np.arange(2**16, dtype=np.uint16).view(BF16)
    kept = every[np.isfinite(every.astype(np.float32)) & (np.abs(every.astype(np.float32)) > 2e-38)]
    params, state = started(kept.astype(np.float32))
    np.testing.assert_array_equal(np.asarray(params), kept)
    assert not state.remainder.any()


def test_the_sum_is_that_of_float32():
    steps = 0.01 * jax.random.normal(jax.random.key(0), (200, 512))
    tx = fo.master_remainder()
    params, master = jnp.ones(512, BF16), jnp.ones(512)
    state = tx.init(params)
    step = jax.jit(tx.update)
    for g in steps:
        updates, state = step(g, state, params)
        params, master = fo.apply_updates(params, updates), master + g
        np.testing.assert_array_equal(joined(params, state.remainder), master)


def test_a_parameter_changed_from_outside_keeps_what_is_below_its_last_place():
    _, state = started(np.array([1.001, -1.001], np.float32))
    moved = jnp.array([0.0, 4.0], BF16)
    updates, _ = fo.master_remainder().update(jnp.zeros(2), state, moved)
    found = fo.apply_updates(moved, updates)
    np.testing.assert_allclose(np.asarray(found, np.float32), [0.0, 4.0], atol=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_kept(bad):
    for tx in (fo.master_remainder(), fo.kahan_summation(), fo.stochastic_rounding(0)):
        params = jnp.ones(3, BF16)
        updates, _ = tx.update(jnp.full(3, bad), tx.init(params), params)
        np.testing.assert_array_equal(fo.apply_updates(params, updates).astype(jnp.float32), bad)


def test_dtypes_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="master_remainder: a parameter has dtype float16"):
        fo.master_remainder().init({"w": jnp.ones(2, F16)})
    for tx in (fo.master_remainder(), fo.kahan_summation()):
        state = tx.init({"w": jnp.ones(3)})
        with pytest.raises(ValueError, match="made for a parameter of a wide dtype") as caught:
            tx.update({"w": jnp.ones(3)}, state, {"w": jnp.ones(3, BF16)})
        assert "'w'" in str(caught.value.__notes__)


def test_the_remainder_passes_the_checks_of_dtypes_that_it_takes():
    dtypes = ("bfloat16", "float32", "complex64")
    for check in (check_state, check_updates, check_zero_gradients):
        check(fo.master_remainder(), dtypes=dtypes)
