"""The largest eigenvalue, by power iteration."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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
    matrix: Any,
    *,
    v0: PyTree | None = None,
    num_iters: int | Array = 100,
    error_tolerance: float | Array = 1e-6,
    precision: Any = jax.lax.Precision.HIGHEST,
    key: Array | None = None,
) -> tuple[Array, PyTree]:
    """Finds the eigenvalue of the largest magnitude, and its eigenvector.

    From v0 on, v <- A v / |A v|, until |A v - lambda v| <= error_tolerance |lambda|, where
    lambda = v.A v, or num_iters times. Where two eigenvalues are equally large, or the matrix
    has no basis of eigenvectors, that need not converge.

    Args:
      matrix: square, `(n, n)`; or a function that multiplies a vector by it, where vectors are
        trees shaped like v0.
      v0: where to start, `(n,)` for a matrix, and needed for a function. Without it, uniform
        numbers in [-1, 1).
      num_iters: number of products, at most, and at least one is made.
      precision: of the products with a matrix.
      key: of the random start; `jax.random.key(0)` without.

    Returns:
      The eigenvalue `()`, and the eigenvector, of norm 1 and shaped like v0. Of a matrix of
      zeros, 0 and where it started.

    Raises:
      ValueError: the matrix is not square, v0 does not fit it or the function, or there is
        neither a matrix nor v0.

    Example:
      >>> value, vector = power_iteration(jnp.diag(jnp.array([1.0, 3.0])))
      >>> float(value.round(4)), [float(x) for x in abs(vector.round(4))]
      (3.0, [0.0, 1.0])

    Reference: Golub & Van Loan, Matrix Computations, 4th edition, 2013, section 7.3.1.
    """
    if callable(matrix):
        product: Product = matrix
        if v0 is None:
            raise ValueError(
                "power_iteration: v0 is None, and matrix is a function, of which nothing says "
                "what vectors it takes. Pass v0."
            )
    else:
        matrix = square("power_iteration", matrix)
        product = _product_with(matrix, precision)
        if v0 is None:
            key = jax.random.key(0) if key is None else key
            v0 = jax.random.uniform(key, matrix.shape[-1:], matrix.real.dtype, -1.0, 1.0)
            v0 = v0.astype(matrix.dtype)
    v0 = jax.tree.map(jnp.asarray, v0)
    _check_product(product, v0)

    def estimate(v: PyTree) -> _Estimate:
        image = product(v)
        return _Estimate(v, image, vdot(v, image))

    def goes_on(carry: tuple[Array, _Estimate]) -> Array:
        i, (vector, image, value) = carry
        residual = norm(sub(image, scale(value, vector)))
        return (i < num_iters) & (residual > error_tolerance * jnp.abs(value))

    def advance(carry: tuple[Array, _Estimate]) -> tuple[Array, _Estimate]:
        i, last = carry
        return i + 1, estimate(_unit(last.product, last.vector))

    start = jnp.array(1), estimate(_unit(v0, v0))
    _, found = while_loop(goes_on, advance, start)
    return found.value, _unit(found.product, found.vector)


def square(link: str, matrix: Any) -> Array:
    """Checks that x is a square matrix, and returns it as an array."""
    matrix = jnp.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"{link}: matrix has shape {matrix.shape}. Pass a square one, (n, n); for several, "
            "map over them with jax.vmap."
        )
    return matrix


def _product_with(matrix: Array, precision: Any) -> Product:
    def product(v: Array) -> Array:
        return jnp.matmul(matrix, v, precision=precision)

    return product


def _check_product(product: Product, v0: PyTree) -> None:
    given, got = (jax.tree.map(jnp.shape, x) for x in (v0, jax.eval_shape(product, v0)))
    if given != got:
        raise ValueError(
            f"power_iteration: the product of the matrix and v0 has the shape {got}, and v0 "
            f"{given}. Pass a v0 that the matrix maps to its like."
        )


def _unit(v: PyTree, otherwise: PyTree) -> PyTree:
    """Divides a tree by its norm; returns the other tree where that is 0."""
    size = norm(v)
    some = size > 0
    inverse = 1 / jnp.where(some, size, jnp.ones_like(size))
    return jax.tree.map(lambda x, y: jnp.where(some, x, y), scale(inverse, v), otherwise)
