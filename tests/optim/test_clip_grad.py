"""Clipping of gradients: norms of every order, NaN and infinity, and the returned norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from .. import problem

ORDERS = [2.0, 1.0, 3.5, 0.5, -1.0, float("inf"), float("-inf"), 0.0]
each_order = pytest.mark.parametrize("order", ORDERS)


def oracle(tree, order):
    """Computes the norm of all elements in one vector, in float64."""
    x = np.concatenate([np.abs(np.asarray(g)).ravel() for g in jax.tree.leaves(tree)])
    return np.linalg.norm(x.astype(np.float64), order)


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.complex64], ids=str)
@each_order
def test_the_norm_is_that_of_one_vector(order, dtype, scale):
    tree = jax.tree.map(lambda x: x * np.asarray(scale, x.dtype), problem.arrays(dtype))
    np.testing.assert_allclose(
        optim.get_total_norm({**tree, "none": None, "empty": jnp.zeros(0)}, order),
        oracle(tree, order),
        rtol=2e-6,
    )


@pytest.mark.parametrize("order", [p for p in ORDERS if p >= 0])
def test_rows_are_clipped_as_the_table_is(order):
    g = jnp.array([[3.0, 1.0], [-2.0, 0.5], [1.0, 1.0]])
    rows = fo.row_sparse(g, jnp.array([4, 0, 4]), (5, 2))
    for clip in (
        lambda g: optim.clip_grad_norm(g, 1.0, order)[0],
        lambda g: optim.clip_grad_value(g, 1.5),
    ):
        found, expected = clip({"w": rows}), clip({"w": rows.todense()})
        np.testing.assert_allclose(found["w"].todense(), expected["w"], rtol=1e-6)


def test_the_order_zero_counts_elements_and_not_tensors():
    tree = {"a": jnp.array([0.0, 2.0, -3.0]), "b": jnp.zeros(4)}
    assert optim.get_total_norm(tree, 0) == 2.0


@pytest.mark.parametrize("tree", [None, {}, {"a": None}, [jnp.zeros((0, 3))]], ids=str)
@each_order
def test_without_gradients_the_norm_is_zero(tree, order):
    clipped, norm = optim.clip_grad_norm(tree, 1.0, order)
    assert float(norm) == 0.0
    assert jax.tree.structure(clipped) == jax.tree.structure(tree)


@pytest.mark.parametrize("max_norm", [0.0, 1e-3, 1.0, 1e3, float("inf"), jnp.float32(0.5)], ids=str)
@each_order
def test_clipping_scales_as_torch_does(order, max_norm):
    tree = problem.arrays()
    clipped, norm = optim.clip_grad_norm(tree, max_norm, order)
    factor = min(1.0, float(max_norm) / (oracle(tree, order) + 1e-6))
    np.testing.assert_allclose(norm, oracle(tree, order), rtol=1e-6)
    for k, g in tree.items():
        np.testing.assert_allclose(clipped[k], np.asarray(g, np.float64) * factor, rtol=2e-6)
        if factor == 1.0:
            np.testing.assert_array_equal(clipped[k], g)


def test_the_term_that_torch_adds_to_the_norm_scales_small_norms():
    clipped, _ = optim.clip_grad_norm({"a": jnp.array([1e-6, 0.0])}, 1e-6)
    np.testing.assert_allclose(clipped["a"], [0.5e-6, 0.0], rtol=1e-5)


def test_a_known_norm_is_used():
    tree = {"a": jnp.array([1.0, 2.0])}
    clipped = optim.clip_grads_with_norm(tree, 1.0, 4.0)
    np.testing.assert_allclose(clipped["a"], [0.25, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("bad", "expected"), [(np.nan, [np.nan, np.nan]), (np.inf, [0.0, np.nan])], ids=["nan", "inf"]
)
@pytest.mark.parametrize("order", [2.0, 1.0, float("inf")])
def test_nonfinite_gradients_give_the_results_of_torch(bad, expected, order):
    tree = {"a": jnp.array([1.0]), "b": jnp.array([bad])}
    clipped, norm = optim.clip_grad_norm(tree, 1.0, order)
    np.testing.assert_array_equal(norm, bad)
    np.testing.assert_array_equal([clipped["a"][0], clipped["b"][0]], expected)
    with pytest.raises(RuntimeError, match=r"order .* for gradients is non-finite, so it cannot"):
        optim.clip_grad_norm(tree, 1.0, order, error_if_nonfinite=True)


def test_a_finite_norm_does_not_raise():
    _, norm = optim.clip_grad_norm({"a": jnp.array([3.0, 4.0])}, 1.0, error_if_nonfinite=True)
    assert float(norm) == 5.0


@each_order
def test_clipping_runs_within_jit(order):
    tree = problem.arrays()
    compiled = jax.jit(lambda g, m: optim.clip_grad_norm(g, m, order))(tree, 0.5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        compiled,
        optim.clip_grad_norm(tree, 0.5, order),
    )


def test_error_if_nonfinite_raises_within_jit():
    with pytest.raises(TypeError, match="error_if_nonfinite reads the norm"):
        jax.jit(lambda g: optim.clip_grad_norm(g, 1.0, 2.0, True))(problem.arrays())


def test_values_are_clipped_by_element():
    tree = {
        "a": jnp.array([-3.0, 0.25, np.nan]),
        "c": jnp.array([3 - 0.25j, 0.5 - 4j], np.complex64),
        "h": jnp.array([2.0, -0.5], jnp.bfloat16),
        "none": None,
    }
    clipped = optim.clip_grad_value(tree, 1.0)
    np.testing.assert_array_equal(clipped["a"], [-1.0, 0.25, np.nan])
    np.testing.assert_array_equal(clipped["c"], [1 - 0.25j, 0.5 - 1j])
    np.testing.assert_array_equal(clipped["h"], [1.0, -0.5])
    assert jax.tree.map(lambda x: x.dtype, clipped) == jax.tree.map(lambda x: x.dtype, tree)


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
def test_gradients_of_integers_are_unchanged(clip):
    grads = jax.grad(lambda p: jnp.sum(p["w"] ** 2), allow_int=True)(
        {"w": jnp.array([3.0]), "n": jnp.array([1])}
    )
    found = clip(grads, 1.0)
    clipped = found[0] if isinstance(found, tuple) else found
    assert clipped["n"].dtype == jax.dtypes.float0
    np.testing.assert_allclose(clipped["w"], [1.0], rtol=1e-6)


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_a_bound_must_not_be_negative(bad):
    with pytest.raises(ValueError, match=r"clip_grad_norm: max_norm must be in \[0, inf\], got"):
        optim.clip_grad_norm(problem.arrays(), bad)
    with pytest.raises(ValueError, match=r"clip_value must be in \[0, inf\], got"):
        optim.clip_grad_value(problem.arrays(), bad)


def test_an_optimizer_clips_the_gradients_that_it_has():
    optimizer = optim.SGD([{"params": jnp.zeros(2)}, {"params": jnp.zeros(1)}], lr=1.0)
    assert float(optimizer.clip_grad_norm_(1.0)) == 0.0
    optimizer.grads = [jnp.array([3.0, 4.0]), None]
    assert float(optimizer.clip_grad_norm_(1.0)) == 5.0
    optimizer.step()
    np.testing.assert_allclose(optimizer.params[0], [-0.6, -0.8], rtol=1e-5)
    optimizer.grads = [jnp.array([3.0, -0.1]), None]
    optimizer.clip_grad_value_(0.5)
    np.testing.assert_allclose(optimizer.grads[0], [0.5, -0.1])


def test_an_order_is_a_number():
    with pytest.raises(
        TypeError, match="get_total_norm: norm_type must be a real number, got 'fro'"
    ):
        optim.clip_grad_norm(problem.arrays(), 1.0, "fro")
