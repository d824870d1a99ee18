import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

X = np.array([[3.0, -4.0], [0.0, 0.0]], np.float32)


@pytest.mark.parametrize("ord", [None, 1, np.inf])
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_norm_is_numpys_where_it_is_above_the_least(ord, keepdims):
    found = fo.safe_norm(X, 0.5, ord=ord, axis=1, keepdims=keepdims)
    expected = np.maximum(np.linalg.norm(X, ord=ord, axis=1, keepdims=keepdims), 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_derivatives_of_a_norm_are_the_direction_and_0_below_the_least():
    by_rows = jax.jacobian(lambda x: fo.safe_norm(x, 0.5, axis=1))(X)
    np.testing.assert_allclose(by_rows[0, 0], [0.6, -0.8], rtol=1e-6)
    np.testing.assert_array_equal(by_rows[1], np.zeros((2, 2)))


@pytest.mark.parametrize("x", [0.0, np.zeros(3, np.float32), np.zeros((2, 0), np.float32)])
def test_a_root_mean_square_has_derivative_0_at_0(x):
    value, slope = jax.value_and_grad(fo.safe_root_mean_squares)(x, 0.5)
    assert float(value) == 0.5
    np.testing.assert_array_equal(slope, np.zeros_like(x))


def test_a_root_mean_square_of_complex_numbers_is_that_of_their_modulus():
    found = fo.safe_root_mean_squares(jnp.array([3 + 4j, 0]), 1e-3)
    np.testing.assert_allclose(found, np.sqrt(12.5), rtol=1e-6)


@pytest.mark.parametrize("scale", [0.5, -1, np.float32(3)])
def test_gradients_are_scaled_and_values_are_not(scale):
    tree = {"w": jnp.ones(2), "half": jnp.ones(2, jnp.bfloat16)}
    same, back = jax.vjp(lambda t: fo.scale_gradient(t, scale), tree)
    (grads,) = back(tree)
    for name, leaf in tree.items():
        np.testing.assert_array_equal(same[name], leaf)
        assert grads[name].dtype == leaf.dtype
        np.testing.assert_array_equal(grads[name].astype(jnp.float32), np.full(2, scale))
