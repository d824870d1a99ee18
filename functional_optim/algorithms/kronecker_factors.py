"""Factors of a Kronecker product that whitens matrices, and the two ways in which PSGD fits them.

A matrix is the last two axes of an array `(..., rows, columns)`; all other axes are batch axes. The
factor of an axis of n elements is `(..., n, n)`, or `(..., n)` where it is diagonal.
"""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from ..core.numerics.matrices import adjoint, diagonal, transposed
from ..core.trees.norms import norm_along

__all__ = ["AXES", "balanced", "fit_triangular", "fit_symmetric", "precondition"]

Array = jax.Array
Factors = Mapping[str, Array]
"""The factors by axis; a vector, which is one row, has no factor of the rows."""

AXES = ("rows", "columns")

SUBSPACE = 32
"""Random vectors of a norm estimate: the authors' advice for float32."""

LARGEST_ROTATION = 1 / 8
"""Bound of the norm of a rotation towards symmetry, as in the authors' `procrustes_step2`."""


def _along(axis: str, function: Callable[[Array], Array], x: Array) -> Array:
    """Applies a function of the rows along the rows, or along the columns."""
    return function(x) if axis == "rows" else transposed(function(transposed(x)))


def _is_diagonal(q: Array, x: Array) -> bool:
    return q.ndim < x.ndim


def _multiply(q: Array, x: Array) -> Array:
    return q[..., None] * x if _is_diagonal(q, x) else q @ x


def _multiply_adjoint(q: Array, x: Array) -> Array:
    return jnp.conj(q)[..., None] * x if _is_diagonal(q, x) else adjoint(q) @ x


def _solve_adjoint(q: Array, x: Array) -> Array:
    """Computes the inverse of q^H times x, for an upper triangle q."""
    if _is_diagonal(q, x):
        return x / jnp.conj(q)[..., None]
    return solve_triangular(q, x, trans="C", lower=False)


def _apply(function: Callable[[Array, Array], Array], factors: Factors, x: Array) -> Array:
    """Applies `function(factor, rows)` along each axis in turn."""
    for axis, q in factors.items():
        x = _along(axis, lambda y, q=q: function(q, y), x)  # type: ignore[misc]
    return x


def _gram(axis: str, q: Array, x: Array) -> Array:
    """Computes x x^H of the rows, or of the columns; only its diagonal if q is diagonal."""
    y = x if axis == "rows" else transposed(x)
    if _is_diagonal(q, x):
        return jnp.sum(jnp.square(jnp.abs(y)), axis=-1).astype(x.dtype)
    return y @ adjoint(y)


def precondition(factors: Factors, x: Array) -> Array:
    """Computes P x with P = Q^H Q, where Q is the Kronecker product of the factors."""
    return _apply(_multiply_adjoint, factors, _apply(_multiply, factors, x))


def balanced(factors: Factors, batch_ndim: int, is_due: Array) -> dict[str, Array]:
    """Scales the factors so that their largest elements are equal; Q does not change.

    Args:
      batch_ndim: number of batch axes.
      is_due: whether to do so, `()`; otherwise the factors are returned unchanged.
    """
    if len(factors) < 2:
        return dict(factors)
    element_axes = {k: tuple(range(batch_ndim, q.ndim)) for k, q in factors.items()}
    tops = {k: jnp.max(jnp.abs(q), axis=element_axes[k]) for k, q in factors.items()}
    mean = jnp.sqrt(tops["rows"]) * jnp.sqrt(tops["columns"])
    new = {}
    for k, q in factors.items():
        ratio = jnp.where(is_due & (tops[k] > 0), mean / tops[k], 1).astype(q.dtype)
        new[k] = q * jnp.expand_dims(ratio, element_axes[k])
    return new


def _same_for_all(v: Array, x: Array) -> Array:
    """Repeats a matrix for each of the matrices of x."""
    return jnp.broadcast_to(v, (*x.shape[:-2], *v.shape))


def fit_triangular(
    factors: Factors, x: Array, key: Array, learning_rate: Array
) -> dict[str, Array]:
    """Fits triangular factors: a step of Q along E Q, the authors' method `EQ`.

        x <- x + sqrt(eps) mean(|x|) V,    V normal, eps of float32
        A  = Q_rows x Q_columns^T,    B = Q_rows^-H V conj(Q_columns)^-1
        Q <- Q - learning_rate triu(A A^H - B B^H) Q / |A A^H + B B^H|    likewise for columns

    where the norm is a lower bound of the spectral norm, or the largest element where Q is
    diagonal.
    """
    v = _same_for_all(jax.random.normal(key, x.shape[-2:], x.dtype), x)
    noise = math.sqrt(float(jnp.finfo(jnp.float32).eps))
    x = x + (noise * jnp.mean(jnp.abs(x), axis=(-2, -1), keepdims=True)).astype(x.dtype) * v
    a = _apply(_multiply, factors, x)
    b = _apply(_solve_adjoint, factors, v)
    tiny = float(jnp.finfo(x.dtype).tiny)
    new = {}
    for axis, q in factors.items():
        gram_a, gram_b = _gram(axis, q, a), _gram(axis, q, b)
        step, total = learning_rate.astype(q.dtype) * (gram_a - gram_b), gram_a + gram_b
        if _is_diagonal(q, x):
            norm = jnp.maximum(jnp.max(total.real, axis=-1, keepdims=True), tiny)
            new[axis] = q - step * (q / norm.astype(q.dtype))
        else:
            norm = jnp.maximum(_norm_by_column(total), tiny)[..., None, None]
            new[axis] = q - (jnp.triu(step) / norm.astype(q.dtype)) @ q
    return new


def _norm_by_column(a: Array) -> Array:
    """Bounds the spectral norm of Hermitian matrices from below, by their largest column."""
    top = jnp.max(jnp.abs(a), axis=(-2, -1), keepdims=True)
    unit = jnp.where(top > 0, top, 1)
    a = a / unit.astype(a.dtype)
    squares = jnp.sum(jnp.square(jnp.abs(a)), axis=-2, keepdims=True)
    i = jnp.argmax(squares, axis=-1, keepdims=True)
    x = a @ jnp.take_along_axis(a, i, axis=-1)
    length = norm_along(x, axis=(-2, -1))
    x = a @ (x / jnp.where(length > 0, length, 1).astype(x.dtype))
    return (norm_along(x, axis=(-2, -1)) * top)[..., 0, 0]


def fit_symmetric(
    factors: Factors,
    bounds: Factors,
    x: Array,
    key: Array,
    learning_rate: Array,
    decay: Array,
    damping: Array,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Fits nearly symmetric factors: a step along Q^0.5 E Q^1.5, the authors' `Q0.5EQ1.5`.

        x  = P (x + (damping + eps |x|) V),    V normal, eps of the dtype
        l  = |x x^H| + columns,    L <- max(l, decay L + (1 - decay) l)
        Q <- Q - learning_rate / L (x x^H - columns I) Q,    then a rotation towards symmetry

    and likewise for columns. The norm is a lower bound of the spectral norm. No triangular system
    is solved.

    Args:
      bounds: L of each factor, of the shape of the batch axes.

    Returns:
      The factors, and L.
    """
    keys = jax.random.split(key, 5)
    v = _same_for_all(jax.random.normal(keys[0], x.shape[-2:], x.dtype), x)
    relative = float(jnp.finfo(x.dtype).eps) * jnp.abs(x)
    white = precondition(factors, x + (damping + relative).astype(x.dtype) * v)
    new, new_bounds = {}, {}
    for axis, q in factors.items():
        i = 1 + 2 * AXES.index(axis)
        n, gram = q.shape[-1], _gram(axis, q, white)
        target = x.shape[-2] * x.shape[-1] / n
        if _is_diagonal(q, x):
            size = jnp.max(gram.real, axis=-1)
        else:
            size = _norm_in_subspace(gram, jnp.max(diagonal(gram).real, axis=-1), keys[i])
        size = size + target
        bound = jnp.maximum(decay * bounds[axis] + (1 - decay) * size, size)
        rate = (learning_rate / bound).astype(q.dtype)
        new_bounds[axis] = bound
        if _is_diagonal(q, x):
            new[axis] = q * (1 - rate[..., None] * (gram - target))
        else:
            moved = q - rate[..., None, None] * (gram @ q - target * q)
            new[axis] = _rotated(moved, keys[i + 1])
    return new, new_bounds


def _norm_in_subspace(a: Array, top: Array, key: Array) -> Array:
    """Bounds the spectral norm of matrices from below, by two iterations of a random subspace.

    The vectors are turned towards the row of the largest norm.

    Args:
      a: Hermitian or skew-Hermitian matrices.
      top: a magnitude of each matrix, by which it is divided first.
      key: of the random vectors.
    """
    tiny = float(jnp.finfo(a.dtype).tiny)
    unit = (top + tiny)[..., None, None]
    a = a / unit.astype(a.dtype)
    i = jnp.argmax(norm_along(a, axis=-1), axis=-2, keepdims=True)
    row = jnp.take_along_axis(a, i, axis=-2)
    v = _same_for_all(jax.random.normal(key, (SUBSPACE, a.shape[-1]), a.dtype), a)
    v = row + jnp.sign(jnp.sum(row * jnp.conj(v), axis=-1, keepdims=True)) * v
    for _ in range(2):
        v = v @ a
        v = (v / (norm_along(v, axis=-1) + tiny).astype(v.dtype)) @ a
    return unit[..., 0, 0] * jnp.max(norm_along(v, axis=-1), axis=(-2, -1))


def _rotated(q: Array, key: Array) -> Array:
    """Rotates matrices towards symmetric ones: a step of the orthogonal Procrustes problem.

    It is U q, with U = I + a R + (a R)^2 / 2 and the skew-Hermitian generator R = q^H - q, which is
    divided by a bound of its norm; a maximizes the trace of U q, and is at most 1/8.
    """
    skew = adjoint(q) - q
    norm = _norm_in_subspace(skew, jnp.max(jnp.abs(skew), axis=(-2, -1)), key)
    tiny = float(jnp.finfo(q.dtype).tiny)
    skew = skew / (norm + tiny)[..., None, None].astype(q.dtype)
    first = skew @ q
    second = skew @ first
    slope, bend = (jnp.sum(diagonal(x).real, axis=-1) for x in (first, second))
    best = -slope / jnp.where(bend < 0, bend, -1)
    a = jnp.where(bend < 0, jnp.minimum(best, LARGEST_ROTATION), LARGEST_ROTATION)
    a = a[..., None, None].astype(q.dtype)
    return q + a * (first + 0.5 * a * second)
