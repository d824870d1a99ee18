"""Gradients of examples, clipped one by one, and summed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

GRADS = {
    "a": jnp.asarray(np.random.default_rng(0).standard_normal((6, 3)), jnp.float32),
    "b": jnp.asarray(np.random.default_rng(1).standard_normal((6, 2, 2)), jnp.float32),
}
ROWS = {k: np.asarray(x, np.float64).reshape(6, -1) for k, x in GRADS.items()}


def clip(rows, norms, bound):
    factor = np.minimum(1.0, bound / np.maximum(norms, 1e-300))
    return (rows * factor[:, None]).sum(0), np.sum(norms > bound)


@pytest.mark.parametrize("bound", [0.0, 2.0, 2.5, np.inf])
def test_examples_are_clipped_to_a_norm_over_all_arrays(bound):
    norms = np.sqrt(sum((x**2).sum(1) for x in ROWS.values()))
    sums, number = jax.jit(fo.per_example_global_norm_clip)(GRADS, bound)
    for k, rows in ROWS.items():
        expected, clipped = clip(rows, norms, bound)
        np.testing.assert_allclose(sums[k].ravel(), expected, rtol=1e-5, atol=1e-6)
        assert number == clipped


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("bound", [0.0, 2.0, 2.5, np.inf])
def test_examples_are_clipped_array_by_array(bound, uniform):
    sums, numbers = fo.per_example_layer_norm_clip(GRADS, bound, uniform)
    for k, rows in ROWS.items():
        part = 1 / 2 if uniform else rows.shape[1] / 7
        norms = np.sqrt((rows**2).sum(1))
        expected, clipped = clip(rows, norms, bound * part**0.5)
        np.testing.assert_allclose(sums[k].ravel(), expected, rtol=1e-5, atol=1e-6)
        assert numbers[k] == clipped


def test_an_example_without_a_gradient_is_not_clipped_and_is_finite():
    sums, number = fo.per_example_global_norm_clip([jnp.zeros((3, 2))], 0.0)
    assert number == 0
    np.testing.assert_array_equal(sums[0], 0)


def test_narrow_gradients_are_summed_in_float32():
    sums, _ = fo.per_example_global_norm_clip([jnp.full((2048, 1), 1.0078125, jnp.bfloat16)], 9.0)
    assert sums[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(sums[0]), 2064.0, rtol=2**-8)


@pytest.mark.parametrize(
    "clipping", [fo.per_example_global_norm_clip, fo.per_example_layer_norm_clip]
)
@pytest.mark.parametrize("grads", [[jnp.ones(())], [jnp.ones((2, 1)), jnp.ones((3, 1))], []])
def test_gradients_without_an_axis_of_examples(clipping, grads):
    with pytest.raises(ValueError, match=f"{clipping.__name__}: the first axis of all arrays"):
        clipping(grads, 1.0)
