"""Inverse roots of matrices, by a Newton iteration that needs products alone."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..core.numerics.precision import compute_dtype
from ..core.trees.norms import scaled_norm
from ..core.trees.varying import while_loop
from .power import power_iteration, square

__all__ = ["matrix_inverse_pth_root"]

Array = jax.Array

GROWTH = 1.2
"""By how much an error may exceed the last one: on the way to 0 it grows a little at times."""


class _Step(NamedTuple):
    number: Array
    product: Array  # M: goes to the identity
    root: Array  # H: goes to the inverse root
    before: Array  # the last H
    error: Array  # max |M - 1|
    sound: Array  # whether the error did not grow


def matrix_inverse_pth_root(
    matrix: Any,
    p: int,
    num_iters: int | Array = 100,
    ridge_epsilon: float | Array = 1e-6,
    error_tolerance: float | Array = 1e-6,
    precision: Any = jax.lax.Precision.HIGHEST,
) -> tuple[Array, Array]:
    """Computes `A^(-1/p)` of a symmetric matrix without negative eigenvalues.

    With A' = A + ridge_epsilon lambda_max 1, from M = z A' and H = z^(1/p) 1, where
    z = (1 + p) / (2 |A'|_F):

        T = (1 + 1/p) 1 - M / p,    M <- T^p M,    H <- H T

    until max |M - 1| <= error_tolerance, or num_iters times, or until it grows. Computed in
    float32 at least, in which it holds up to a condition of about 1e6.

    Args:
      matrix: `(n, n)`.
      p: from 1 on.
      ridge_epsilon: what is added to the diagonal, in units of the largest eigenvalue.
      precision: of the products.

    Returns:
      The inverse root `(n, n)`, in the dtype of the matrix; and the error `()`, max |M - 1|.

    Raises:
      ValueError: the matrix is not square, or p is not an integer from 1 on.

    Example:
      >>> root, error = matrix_inverse_pth_root(jnp.diag(jnp.array([1.0, 16.0])), 4)
      >>> root.round(3).tolist(), bool(error < 1e-5)
      ([[1.0, 0.0], [0.0, 0.5]], True)

    Reference: Guo & Higham, A Schur-Newton method for the matrix p-th root and its inverse,
    SIAM Journal on Matrix Analysis and Applications 28, 2006, its coupled Newton iteration;
    for optimizers, Anil et al., Scalable Second Order Optimization for Deep Learning, 2020,
    arXiv:2002.09018.
    """
    given = square("matrix_inverse_pth_root", matrix)
    if isinstance(p, bool) or not isinstance(p, int) or p < 1:
        raise ValueError(
            f"matrix_inverse_pth_root: p must be an integer from 1 on, got {p!r}. Pass 4, for "
            "example; for a power other than -1/p, use jnp.linalg.eigh."
        )
    a = given.astype(compute_dtype(given.dtype))
    one, times = jnp.eye(a.shape[0], dtype=a.dtype), partial(jnp.matmul, precision=precision)
    largest, _ = power_iteration(a, precision=precision)
    # Of a matrix of zeros the ridge is all there is.
    a = a + ridge_epsilon * jnp.maximum(largest.real, jnp.finfo(a.dtype).tiny ** 0.5) * one
    z = (1 + p) / (2 * scaled_norm(a))

    def goes_on(step: _Step) -> Array:
        return (step.number < num_iters) & (step.error > error_tolerance) & step.sound

    def advance(step: _Step) -> _Step:
        t = (1 + 1 / p) * one - step.product / p
        product = times(_power(t, p, times), step.product)
        root = times(step.root, t)
        error = _largest(product - one)
        sound = error < step.error * GROWTH
        return _Step(step.number + 1, product, root, step.root, error, sound)

    root = z ** (1 / p) * one
    start = _Step(jnp.array(0), z * a, root, root, _largest(z * a - one), jnp.array(True))
    last = while_loop(goes_on, advance, start)
    found = jnp.where(last.sound, last.root, last.before)
    return found.astype(given.dtype), last.error


def _largest(x: Array) -> Array:
    return jnp.max(jnp.abs(x), initial=0.0)


def _power(x: Array, p: int, times: Callable[[Array, Array], Array]) -> Array:
    """Computes x^p by squaring."""
    if p == 1:
        return x
    half = _power(x, p // 2, times)
    whole = times(half, half)
    return times(whole, x) if p % 2 else whole
