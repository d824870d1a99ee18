"""The largest eigenvalue, by power iteration."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import PrecisionLike
from jax.typing import ArrayLike

from ..core.numerics.precision import real_dtype
from ..core.numerics.validation import check_number
from ..core.protocol import PyTree
from ..core.trees.varying import while_loop
from ..tree import norm, scale, sub, vdot

__all__ = ["power_iteration", "square"]

Array = jax.Array
Product = Callable[[PyTree], PyTree]


class _Estimate(NamedTuple):
    vector: PyTree  # of norm 1
    product: PyTree  # of the matrix with it
    value: Array


def power_iteration(
    matrix: ArrayLike | Product,
    *,
    v0: PyTree | None = None,
    num_iters: int | Array = 100,
    error_tolerance: float | Array = 1e-6,
    precision: PrecisionLike = jax.lax.Precision.HIGHEST,
    key: Array | None = None,
) -> tuple[Array, PyTree]:
    """Finds the eigenvalue of the largest magnitude, and its eigenvector.

    Starting at v0, it repeats v <- A v / |A v| until |A v - lambda v| <= error_tolerance |lambda|,
    where lambda = v.A v, or num_iters times. It need not converge where two eigenvalues are
    equally large, or where the matrix has no basis of eigenvectors.

    Args:
      matrix: square, `(n, n)`; or a function that multiplies the matrix by a vector, where
        vectors are trees shaped like v0.
      v0: the start, `(n,)` for a matrix; required for a function. None for uniform numbers in
        [-1, 1).
      num_iters: largest number of products; at least one is computed.
      error_tolerance: norm of A v - lambda v, relative to |lambda|, at which the iteration ends.
      precision: precision of the products with a matrix.
      key: key of the random start; None for `jax.random.key(0)`.

    Returns:
      The eigenvalue `()`, and the eigenvector, of norm 1 and shaped like v0. For a matrix of
      zeros, the eigenvalue is 0, and the vector is the start.

    Raises:
      ValueError: the matrix is not square, v0 does not fit it or the function, or there is
        neither a matrix nor v0; or num_iters or error_tolerance is a negative number.

    Example:
      >>> value, vector = power_iteration(jnp.diag(jnp.array([1.0, 3.0])))
      >>> float(value.round(4)), [float(x) for x in abs(vector.round(4))]
      (3.0, [0.0, 1.0])

    Reference: Golub & Van Loan, Matrix Computations, 4th edition, 2013, section 7.3.1.
    """
    check_number(num_iters, "power_iteration: num_iters", "[0, inf)")
    check_number(error_tolerance, "power_iteration: error_tolerance", "[0, inf)")
    if callable(matrix):
        product: Product = matrix
        if v0 is None:
            raise ValueError(
                "power_iteration: v0 is None, and matrix is a function, so the shapes of its "
                "vectors are not known. Pass v0."
            )
    else:
        matrix = square("power_iteration", matrix)
        product = _product_with(matrix, precision)
        if v0 is None:
            key = jax.random.key(0) if key is None else key
            v0 = jax.random.uniform(key, matrix.shape[-1:], real_dtype(matrix.dtype), -1.0, 1.0)
            v0 = v0.astype(matrix.dtype)
    v0 = jax.tree.map(jnp.asarray, v0)
    _check_product(product, v0)

    def estimate(v: PyTree) -> _Estimate:
        image = product(v)
        return _Estimate(v, image, vdot(v, image))

    def unfinished(carry: tuple[Array, _Estimate]) -> Array:
        i, (vector, image, value) = carry
        # The product serves both the residual and the next vector, one for each iteration.
        residual = norm(sub(image, scale(value, vector)))
        return (i < num_iters) & (residual > error_tolerance * jnp.abs(value))

    def advance(carry: tuple[Array, _Estimate]) -> tuple[Array, _Estimate]:
        i, last = carry
        return i + 1, estimate(_unit(last.product, last.vector))

    start = jnp.array(1), estimate(_unit(v0, v0))
    _, last = while_loop(unfinished, advance, start)
    return last.value, _unit(last.product, last.vector)


def square(link: str, matrix: ArrayLike) -> Array:
    """Returns the matrix as an array, after checking that it is square."""
    matrix = jnp.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"{link}: matrix has shape {matrix.shape}. Pass a square one, (n, n); for several, "
            "map over them with jax.vmap."
        )
    return matrix


def _product_with(matrix: Array, precision: PrecisionLike) -> Product:
    def product(v: Array) -> Array:
        return jnp.matmul(matrix, v, precision=precision)

    return product


def _check_product(product: Product, v0: PyTree) -> None:
    expected, got = (jax.tree.map(jnp.shape, x) for x in (v0, jax.eval_shape(product, v0)))
    if expected != got:
        raise ValueError(
            f"power_iteration: the product of the matrix and v0 has the shape {got}, and v0 "
            f"{expected}. Pass a v0 that the matrix maps to a vector of the same shape."
        )


def _unit(v: PyTree, otherwise: PyTree) -> PyTree:
    """Divides a tree by its norm; returns the other tree where the norm is 0."""
    size = norm(v)
    is_positive = size > 0
    inverse = 1 / jnp.where(is_positive, size, jnp.ones_like(size))
    return jax.tree.map(lambda x, y: jnp.where(is_positive, x, y), scale(inverse, v), otherwise)
