"""Least squares with a non-negative solution."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype
from ..core.numerics.validation import as_count

__all__ = ["nnls"]

Array = jax.Array


def nnls(
    A: Array, b: Array, iters: int, unroll: int | bool = 1, L: ArrayLike | None = None
) -> Array:
    """Minimizes |A x - b| over all x >= 0.

    It takes steps of projected gradient descent with Nesterov's momentum, of length 1 / L: after k
    steps from 0, |A x - b|^2 exceeds its minimum, at x*, by at most 4 L |x*|^2 / (k + 1)^2.

    Args:
      A: `(m, n)`.
      b: `(m,)`, or `(m, k)` for k problems.
      iters: number of steps.
      unroll: the argument of `jax.lax.scan`.
      L: at least the largest eigenvalue of `A^T A`; None for the smaller of two of its norms.

    Returns:
      x, `(n,)` or `(n, k)`, in the dtype of b; computed in float32 at least.

    Raises:
      TypeError: iters is not an integer.
      ValueError: the shapes do not fit, or iters is negative.

    Example:
      >>> x = nnls(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([5.0, 6.0]), 1000)
      >>> x.round(3).tolist()
      [0.0, 1.7000000476837158]

    Reference: Beck & Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm for Linear
    Inverse Problems, SIAM Journal on Imaging Sciences 2, 2009; Polyak, Projected gradient method
    for non-negative least squares, Contemporary Mathematics 636, 2015.
    """
    as_count(iters, "nnls: iters", least=0)
    A, b = jnp.asarray(A), jnp.asarray(b)
    if A.ndim != 2 or b.ndim not in (1, 2) or b.shape[0] != A.shape[0]:
        raise ValueError(
            f"nnls: A has shape {A.shape}, and b {b.shape}. Pass (m, n), and (m,) or (m, k)."
        )
    result_dtype, dtype = b.dtype, compute_dtype(A.dtype)
    A, b = A.astype(dtype), b.astype(dtype)
    gram, target = A.T @ A, A.T @ b
    bound = jnp.asarray(_bound(gram) if L is None else L, dtype)
    # A matrix of zeros has the bound 0; any step length is right for it.
    bound = jnp.where(bound == 0, jnp.ones_like(bound), bound)

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        x, ahead, t = carry
        new = jnp.maximum(ahead - (gram @ ahead - target) / bound, 0)
        following = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        return (new, new + (t - 1) / following * (new - x), following), None

    x = jnp.zeros((A.shape[1], *b.shape[1:]), dtype)
    (x, _, _), _ = jax.lax.scan(step, (x, x, jnp.ones((), dtype)), length=iters, unroll=unroll)
    return x.astype(result_dtype)


def _bound(gram: Array) -> Array:
    """Computes the smaller of two cheap bounds of the largest eigenvalue."""
    rows = jnp.max(jnp.sum(jnp.abs(gram), axis=0), initial=0.0)
    return jnp.minimum(jnp.linalg.norm(gram), rows)
