import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.core.numerics import precision


def test_one_minus_power_keeps_its_digits():
    bases = np.array([0.0, 0.5, 0.9, 0.999, 0.9999, 0.999999, 1.0], np.float32)
    one_minus_power = jax.jit(precision.one_minus_power)
    for n in (0, 1, 2, 10, 1000, 100_000):
        for b in bases:
            exact = 1.0 - float(b) ** n
            ours = one_minus_power(jnp.asarray(b), jnp.float32(n))
            np.testing.assert_allclose(ours, exact, rtol=5e-7, atol=0, err_msg=f"{b} to the {n}")


def test_one_minus_power_has_a_derivative_where_the_power_is_zero():
    for n in (0.0, 1.0, 5.0):
        slope = jax.grad(precision.one_minus_power)(jnp.float32(0.0), jnp.float32(n))
        assert jnp.isfinite(slope)


def test_safe_sqrt_is_a_square_root_with_derivative_zero_at_zero():
    x = jnp.array([0.0, 4.0, 1e-30])
    np.testing.assert_allclose(precision.safe_sqrt(x), [0.0, 2.0, 1e-15])
    slopes = jax.vmap(jax.grad(precision.safe_sqrt))(jnp.array([0.0, 4.0]))
    assert slopes.tolist() == [0.0, 0.25]


def test_safe_sqrt_has_a_second_derivative_that_is_finite_at_zero():
    curvature = jax.vmap(jax.grad(jax.grad(precision.safe_sqrt)))(jnp.array([0.0, 4.0]))
    assert curvature.tolist() == [0.0, -1 / 32]


def test_safe_sqrt_of_numbers_without_a_finite_root():
    roots = precision.safe_sqrt(jnp.array([jnp.nan, -1e-9, jnp.inf]))
    assert jnp.isnan(roots[:2]).all()
    assert jnp.isposinf(roots[2])


def test_safe_sqrt_is_one_operation_of_the_program():
    text = jax.jit(precision.safe_sqrt).lower(jnp.ones(3)).as_text()
    assert re.findall(r"stablehlo\.\w+|chlo\.\w+", text) == ["stablehlo.sqrt"]


def test_a_counter_stays_at_its_largest_value():
    top = np.iinfo(np.int32).max
    largest = jnp.finfo(jnp.float32).max
    assert precision.safe_increment(jnp.array([2.0, largest])).tolist() == [3.0, largest]
    counts = precision.safe_increment(jnp.array([0, top - 1, top], jnp.int32))
    assert counts.tolist() == [1, top, top]
    assert counts.dtype == jnp.int32


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.complex64])
def test_a_dtype_without_a_largest_value_cannot_count(dtype):
    with pytest.raises(ValueError, match=r"count must be of integers or floats, got \w+\. Convert"):
        precision.safe_increment(jnp.ones((), dtype))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("bfloat16", "float16", "float32"),
        ("bfloat16", "float32", "float32"),
        ("float16", "float16", "float16"),
        ("float32", "complex64", "complex64"),
        ("bfloat16", "complex64", "complex64"),
        ("float64", "complex64", "complex128"),
        ("float64", "float32", "float64"),
    ],
)
def test_wider_holds_both(a, b, expected):
    assert precision.wider(a, b) == precision.wider(b, a) == jnp.dtype(expected)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
    ],
)
def test_narrow_leaves_are_computed_in_float32(dtype, expected):
    assert precision.compute_dtype(dtype) == jnp.dtype(expected)


def test_hyperparameters_are_float32_or_float64_under_x64():
    assert precision.hyper_dtype() == np.float32
    with jax.enable_x64(True):
        assert precision.hyper_dtype() == np.float64


@pytest.mark.parametrize("make", [fo.adamw, fo.sgd, fo.muon], ids=lambda f: f.__name__)
def test_arrays_of_numpy_in_float64_are_rounded_silently(make):
    """Gradients may be computed by NumPy. Warnings are errors in these tests."""
    grads = {"a": np.ones(3), "b": np.ones((2, 2))}
    tx = make(0.1)
    for params in (grads, jax.tree.map(jnp.asarray, grads)):
        state = tx.init(params)
        updates, state = tx.update(grads, state, params)
        plain = fo.apply_updates(params, updates)
        fused, _ = fo.apply_gradients(tx, grads, state, params)
        assert {x.dtype for x in jax.tree.leaves((updates, plain, fused))} == {jnp.float32.dtype}
