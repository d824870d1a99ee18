"""Linear algebra, against NumPy and SciPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import functional_optim as fo


def symmetric(values, seed=0):
    """Returns a matrix of these eigenvalues, and its eigenvectors."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values),) * 2))
    return q @ np.diag(values) @ q.T, q


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [1.0, -5.0, 2.0], [3.0]])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_power_iteration_finds_the_largest(values, wrap):
    a, q = symmetric(values)
    value, vector = wrap(fo.power_iteration)(jnp.asarray(a, jnp.float32))
    k = np.argmax(np.abs(values))
    np.testing.assert_allclose(value, values[k], rtol=1e-5)
    np.testing.assert_allclose(np.abs(vector @ q[:, k]), 1.0, rtol=1e-5)


def test_power_iteration_of_a_function_of_trees():
    def product(v):
        return {"a": 2 * v["a"], "b": v["b"]}

    v0 = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    value, vector = fo.power_iteration(product, v0=v0)
    np.testing.assert_allclose(value, 2.0, rtol=1e-5)
    np.testing.assert_allclose(vector["a"], 3**-0.5, rtol=1e-5)
    np.testing.assert_allclose(vector["b"], 0.0, atol=1e-4)


def test_power_iteration_of_a_complex_matrix():
    a = jnp.array([[2.0, 1j], [-1j, 2.0]], jnp.complex64)
    value, vector = fo.power_iteration(a)
    np.testing.assert_allclose(value, 3.0, rtol=1e-5)
    np.testing.assert_allclose(a @ vector, 3 * vector, atol=1e-4)


def test_power_iteration_stops_at_num_iters_or_error_tolerance():
    a, v0 = jnp.diag(jnp.array([1.0, 2.0])), jnp.array([1.0, 1.0])
    once = fo.power_iteration(a, v0=v0, num_iters=1)
    np.testing.assert_allclose(once[0], 1.5, rtol=1e-6)
    np.testing.assert_allclose(once[1], np.array([1.0, 2.0]) / 5**0.5, rtol=1e-6)
    rough = fo.power_iteration(a, v0=v0, error_tolerance=0.5)
    np.testing.assert_allclose(rough[0], 1.5, rtol=1e-6)


def test_power_iteration_of_zeros():
    value, vector = fo.power_iteration(jnp.zeros((3, 3)), v0=jnp.array([3.0, 0.0, 4.0]))
    assert value == 0
    np.testing.assert_allclose(vector, [0.6, 0.0, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((jnp.ones((2, 3)), None), r"matrix has shape \(2, 3\)"),
        ((jnp.ones(3), None), r"matrix has shape \(3,\)"),
        ((lambda v: v, None), "v0 is None"),
        ((lambda v: v[:1], jnp.ones(2)), r"shape \(1,\), and v0 \(2,\)"),
    ],
)
def test_errors_of_power_iteration_name_the_argument(arguments, error):
    matrix, v0 = arguments
    with pytest.raises(ValueError, match=f"power_iteration: .*{error}"):
        fo.power_iteration(matrix, v0=v0)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
def test_inverse_roots(p):
    values = np.array([0.01, 0.5, 1.0, 7.0])
    a, q = symmetric(values)
    root, error = fo.matrix_inverse_pth_root(jnp.asarray(a, jnp.float32), p, ridge_epsilon=0.0)
    expected = q @ np.diag(values ** (-1 / p)) @ q.T
    assert error < 1e-4
    np.testing.assert_allclose(root, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_inverse_root_of_one_number(dtype):
    root, _ = fo.matrix_inverse_pth_root(jnp.array([[16.0]], dtype), 4, ridge_epsilon=0.0)
    assert root.dtype == dtype
    np.testing.assert_allclose(root.astype(np.float32), [[0.5]], rtol=1e-2)


def test_the_ridge_is_in_units_of_the_largest_eigenvalue():
    a = jnp.diag(jnp.array([0.0, 100.0]))
    root, _ = fo.matrix_inverse_pth_root(a, 2, ridge_epsilon=0.01)
    np.testing.assert_allclose(jnp.diag(root), [1.0, 101.0**-0.5], rtol=1e-4)


def test_inverse_root_of_zeros_is_finite():
    root, _ = fo.matrix_inverse_pth_root(jnp.zeros((2, 2)), 4)
    assert jnp.isfinite(root).all()


@pytest.mark.parametrize("p", [0, -1, 2.0, True])
def test_a_root_is_a_whole_number(p):
    with pytest.raises(ValueError, match="matrix_inverse_pth_root: p must be an integer"):
        fo.matrix_inverse_pth_root(jnp.eye(2), p)


@pytest.mark.parametrize("columns", [(), (3,)])
def test_nnls_is_that_of_scipy(columns):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((8, 5)), rng.standard_normal((8, *columns))
    x = fo.nnls(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), 2000)
    each = [scipy.optimize.nnls(a, y)[0] for y in b.reshape(8, -1).T]
    np.testing.assert_allclose(x.reshape(5, -1).T, np.stack(each), atol=1e-4)


def test_nnls_of_narrow_and_of_no_numbers():
    x = fo.nnls(jnp.eye(2, dtype=jnp.bfloat16), jnp.array([1.0, -1.0], jnp.bfloat16), 5)
    assert x.dtype == jnp.bfloat16
    assert x.tolist() == [1.0, 0.0]
    assert fo.nnls(jnp.zeros((2, 3)), jnp.ones(2), 5).tolist() == [0.0] * 3
    assert fo.nnls(jnp.zeros((2, 0)), jnp.ones(2), 5).shape == (0,)


def test_nnls_takes_a_bound():
    a, b = jnp.diag(jnp.array([1.0, 2.0])), jnp.array([1.0, 2.0])
    once = fo.nnls(a, b, 1, L=8.0)
    np.testing.assert_allclose(once, [1 / 8, 4 / 8], rtol=1e-6)


@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2, 3), (3,)), ((2, 3), (2, 1, 1))])
def test_errors_of_nnls_show_the_shapes(shapes):
    with pytest.raises(ValueError, match="nnls: A has shape"):
        fo.nnls(*map(jnp.ones, shapes), 3)


def test_the_roots_of_a_stack_are_those_of_its_matrices():
    # Of very different condition numbers, so that they stop at different iterations.
    stack = np.stack([symmetric(v, 3)[0] for v in ([1.0, 1.0], [1e-4, 1.0], [5.0, 0.3])])
    a = jnp.asarray(stack.reshape(3, 1, 2, 2), jnp.float32)
    roots, errors = fo.matrix_inverse_pth_root(a, 4)
    assert (roots.shape, errors.shape) == (a.shape, (3, 1))
    for i in range(3):
        root, error = fo.matrix_inverse_pth_root(a[i, 0], 4)
        np.testing.assert_allclose(roots[i, 0], root, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(errors[i, 0], error, atol=1e-6)


def test_the_ridge_may_be_in_units_of_the_matrix():
    a = jnp.diag(jnp.array([0.0, 100.0]))
    root, _ = fo.matrix_inverse_pth_root(a, 2, ridge_epsilon=0.25, relative=False)
    np.testing.assert_allclose(jnp.diag(root), [2.0, 100.25**-0.5], rtol=1e-4)


def test_inverse_root_of_a_hermitian_matrix():
    a = jnp.array([[2.0, 1j], [-1j, 2.0]], jnp.complex64)
    root, error = fo.matrix_inverse_pth_root(a, 2, ridge_epsilon=0.0)
    assert error < 1e-5
    np.testing.assert_allclose(root @ root @ a, np.eye(2), atol=1e-5)
    np.testing.assert_allclose(root, root.conj().T, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
def test_a_root_is_of_square_matrices(shape):
    with pytest.raises(ValueError, match=r"matrix has shape .*\. Pass a square one"):
        fo.matrix_inverse_pth_root(jnp.ones(shape), 4)
