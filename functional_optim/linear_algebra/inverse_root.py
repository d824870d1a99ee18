"""Inverse roots of matrices, by a Newton iteration of matrix products."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import PrecisionLike
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype, real_dtype
from ..core.numerics.validation import check_number
from ..core.trees.norms import scaled_norm
from ..core.trees.varying import while_loop
from .power import power_iteration

__all__ = ["matrix_inverse_pth_root"]

Array = jax.Array

GROWTH = 1.2
"""Factor by which an error may exceed the previous one: it need not decrease at each step."""


class _Step(NamedTuple):
    iteration: Array
    product: Array  # M, which converges to the identity
    root: Array  # H, which converges to the inverse root
    previous_root: Array
    error: Array  # max |M - I|
    converging: Array  # whether the error did not grow


def matrix_inverse_pth_root(
    matrix: ArrayLike,
    p: int,
    num_iters: int | Array = 100,
    ridge_epsilon: float | Array = 1e-6,
    error_tolerance: float | Array = 1e-6,
    precision: PrecisionLike = jax.lax.Precision.HIGHEST,
    *,
    relative: bool = True,
) -> tuple[Array, Array]:
    """Computes `A^(-1/p)` of a symmetric matrix without negative eigenvalues, or of a stack.

    With A' = A + ridge_epsilon lambda_max I, M = z A' and H = z^(1/p) I at the start, where
    z = (1 + p) / (2 |A'|_F):

        T = (1 + 1/p) I - M / p,    M <- T^p M,    H <- H T

    until the error max |M - I| is at most error_tolerance, num_iters times, or until it grows. It
    is computed in float32 at least, and in float32 it is accurate up to condition numbers of about
    1e6. The matrices of a stack stop each at their own number of iterations.

    Args:
      matrix: `(..., n, n)`, symmetric, or Hermitian if complex.
      p: an integer of at least 1.
      num_iters: the largest number of steps.
      ridge_epsilon: added to the diagonal, in units of the largest eigenvalue.
      error_tolerance: the error at which the iteration ends.
      precision: precision of the matrix products.
      relative: False for a ridge_epsilon in units of the matrix.

    Returns:
      The inverse roots `(..., n, n)`, in the dtype of the matrix; and the errors `(...)`,
      max |M - I|.

    Raises:
      ValueError: the matrix is not square, p is not an integer from 1 on, or num_iters,
        ridge_epsilon or error_tolerance is a negative number.

    Example:
      >>> root, error = matrix_inverse_pth_root(jnp.diag(jnp.array([1.0, 16.0])), 4)
      >>> root.round(3).tolist(), bool(error < 1e-5)
      ([[1.0, 0.0], [0.0, 0.5]], True)

    Reference: Guo & Higham, A Schur-Newton method for the matrix p-th root and its inverse,
    SIAM Journal on Matrix Analysis and Applications 28, 2006, its coupled Newton iteration;
    for optimizers, Anil et al., Scalable Second Order Optimization for Deep Learning, 2020,
    arXiv:2002.09018.
    """
    limited = {
        "num_iters": num_iters,
        "ridge_epsilon": ridge_epsilon,
        "error_tolerance": error_tolerance,
    }
    for name, value in limited.items():
        check_number(value, f"matrix_inverse_pth_root: {name}", "[0, inf)")
    original = jnp.asarray(matrix)
    if original.ndim < 2 or original.shape[-2] != original.shape[-1]:
        raise ValueError(
            f"matrix_inverse_pth_root: matrix has shape {original.shape}. Pass a square one, "
            "(n, n), or a stack of them, (..., n, n)."
        )
    if isinstance(p, bool) or not isinstance(p, int) or p < 1:
        raise ValueError(
            f"matrix_inverse_pth_root: p must be an integer from 1 on, got {p!r}. Pass 4, for "
            "example; for a power other than -1/p, use jnp.linalg.eigh."
        )
    a = original.astype(compute_dtype(original.dtype))
    limits = num_iters, error_tolerance, precision
    one = partial(_inverse_root, p=p, limits=limits, ridge=ridge_epsilon, relative=relative)
    for _ in a.shape[:-2]:
        one = jax.vmap(one)
    root, error = one(a)
    return root.astype(original.dtype), error


def _inverse_root(
    a: Array,
    p: int,
    limits: tuple[int | Array, float | Array, PrecisionLike],
    ridge: float | Array,
    relative: bool,
) -> tuple[Array, Array]:
    """Computes the inverse root of one matrix, and the error."""
    num_iters, error_tolerance, precision = limits
    one, times = jnp.eye(a.shape[0], dtype=a.dtype), partial(jnp.matmul, precision=precision)
    ridge = jnp.asarray(ridge, real_dtype(a.dtype))
    if relative:
        largest, _ = power_iteration(a, precision=precision)
        # The floor keeps the ridge of a matrix of zeros positive.
        ridge = ridge * jnp.maximum(largest.real, jnp.finfo(a.dtype).tiny ** 0.5)
    a = a + ridge.astype(a.dtype) * one
    z = (1 + p) / (2 * scaled_norm(a))

    def unfinished(step: _Step) -> Array:
        return (step.iteration < num_iters) & (step.error > error_tolerance) & step.converging

    def advance(step: _Step) -> _Step:
        t = (1 + 1 / p) * one - step.product / p
        product = times(_power(t, p, times), step.product)
        root = times(step.root, t)
        error = _largest(product - one)
        converging = error < step.error * GROWTH
        return _Step(step.iteration + 1, product, root, step.root, error, converging)

    root, product = (z ** (1 / p)).astype(a.dtype) * one, z.astype(a.dtype) * a
    start = _Step(jnp.array(0), product, root, root, _largest(product - one), jnp.array(True))
    last = while_loop(unfinished, advance, start)
    # A step whose error grew is worse than the one before it.
    return jnp.where(last.converging, last.root, last.previous_root), last.error


def _largest(x: Array) -> Array:
    return jnp.max(jnp.abs(x), initial=0.0)


def _power(x: Array, p: int, times: Callable[[Array, Array], Array]) -> Array:
    """Computes x^p by squaring."""
    if p == 1:
        return x
    half = _power(x, p // 2, times)
    even = times(half, half)
    return times(even, x) if p % 2 else even
