"""Norms of trees that neither overflow nor lose digits."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..numerics.precision import compute_dtype, safe_sqrt
from ..numerics.validation import as_state
from ..protocol import PyTree
from .sparse_rows import coalesced
from .structure import is_sparse

__all__ = [
    "combine_norms",
    "factor_to",
    "global_norm",
    "leaf_norm",
    "leaf_rms",
    "measure_norm",
    "norm_of",
    "norm_along",
    "scale_for",
    "scaled_norm_along",
    "rescale_norm",
    "scaled_norm",
]

Array = jax.Array


_LARGE = 2**16
"""Arrays of at least this size save more by skipping a second reading than the condition costs."""


def leaf_norm(x: Array) -> Array:
    """Computes the Euclidean norm of an array, in its precision, by one reduction.

    Squares of 1e20 overflow float32, and squares of 1e-23 vanish; `scaled_norm` handles both.
    """
    return safe_sqrt(jnp.sum(jnp.square(jnp.abs(x) if jnp.iscomplexobj(x) else x)))


def leaf_rms(x: Array) -> Array:
    """Computes the root mean square of an array, in its precision; 0 if it has no elements."""
    return leaf_norm(x) * (1 / max(x.size, 1)) ** 0.5


@jax.jit
def scaled_norm(x: Array) -> Array:
    """Computes the Euclidean norm of an array, without overflow of the squares.

    Squares of 1e20 overflow float32, and squares of 1e-23 vanish; squares of x / max|x| do
    neither. A large array is first summed without this division, in one reading (and one
    collective, where it is sharded), and with it only if the first sum is not sound.
    """
    # A real x is not replaced by its magnitude, which XLA would write to memory for two readers.
    values = jnp.abs(x) if jnp.iscomplexobj(x) else x
    if x.size < _LARGE:
        return _scaled(values)
    total = jnp.sum(jnp.square(values))
    limits = jnp.finfo(total.dtype)
    # Below this total, some of the squares may have been subnormal, and lost digits.
    sound = (total > limits.tiny / limits.eps**2) & (total < limits.max)
    return jax.lax.cond(sound, lambda _: safe_sqrt(total), _scaled, values)


def _scaled(values: Array) -> Array:
    return _euclid(values, jnp.max(jnp.abs(values), initial=0.0))


def _euclid(values: Array, top: Array) -> Array:
    """Computes the norm of values whose largest magnitude is `top`."""
    scale = scale_for(top)
    return safe_sqrt(jnp.sum(jnp.square(scale * values))) / scale


def norm_along(x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """Computes Euclidean norms; reduced axes keep the size 1, unless axis is None."""
    square = jnp.square(jnp.abs(x) if jnp.iscomplexobj(x) else x)
    return safe_sqrt(jnp.sum(square, axis=axis, keepdims=axis is not None))


def scaled_norm_along(x: Array, axis: int | tuple[int, ...] | None) -> Array:
    """Computes Euclidean norms along axes, which are kept with size 1, without overflow.

    With `axis=None`, the norm is that of all elements.
    """
    # The values of a real x keep their signs, so that only the maximum reads abs(x): XLA writes an
    # array that is read twice to memory.
    values = jnp.abs(x) if jnp.iscomplexobj(x) else x
    if axis is None:
        axes = tuple(range(x.ndim))
    else:
        axes = tuple(i % x.ndim for i in ((axis,) if isinstance(axis, int) else axis))
    # The largest magnitude of an empty array is -inf, and its scale any number.
    top = jax.lax.reduce_max(jax.lax.abs(values), axes)
    scale = jax.lax.expand_dims(scale_for(top), axes)
    squares = jax.lax.square(scale * values)
    return safe_sqrt(jnp.sum(squares, axis=axes, keepdims=True)) / scale


def scale_for(top: Array) -> Array:
    """Returns powers of two near `1 / top`, because multiplying by one is exact.

    They scale numbers of the largest magnitude `top` to magnitudes near 1, and are finite and
    positive for zero and infinity too.
    """
    limits = jnp.finfo(top.dtype)
    power = jax.lax.reduce_precision(1 / jax.lax.stop_gradient(top), limits.nexp, 0)
    # Smaller powers are subnormal, and 0 for the CPU.
    least = jnp.full((), limits.tiny, top.dtype)
    return jax.lax.clamp(least, power, 1 / least)


def combine_norms(norms: Array | None) -> Array:
    """Computes the Euclidean norm over leaves from their norms `(n,)`; 0 without leaves."""
    return as_state(0.0) if norms is None else _scaled(norms)


def measure_norm(
    g: Array, slots: object, p: object, ctx: object, **_: object
) -> Mapping[str, Array]:
    """Measures a leaf for the norm over all leaves: the sum of its squares.

    A rule that needs the norm has it as its `measure`, and `rescale_norm` as its `rescale`; its
    `combine` calls `norm_of`.
    """
    del slots, p
    values = jnp.abs(g) if jnp.iscomplexobj(g) else g
    if hasattr(ctx, "scale"):  # the second measurement
        values = ctx.scale * values
    return {"squares": jnp.sum(jnp.square(values))}


def rescale_norm(stats: Mapping[str, Array]) -> Array:
    """Returns the power of two for a second measurement where squares over- or underflowed; else 1.

    Squares of 1e20 overflow float32, and squares of 1e-23 vanish; squares of the scaled
    numbers do neither.
    """
    total = jnp.sum(stats["squares"])
    limits = jnp.finfo(total.dtype)
    # This factor scales squares by 2**maxexp, which is the whole range above 1.
    power, one = total.dtype.type(2.0 ** (limits.maxexp // 2)), total.dtype.type(1)
    small = jnp.where(total < limits.tiny / limits.eps**2, power, one)
    return jnp.where(total == jnp.inf, one / power, small)


def norm_of(stats: Mapping[str, Array] | None, last: Mapping[str, Array]) -> Array:
    """Computes the norm over all leaves from their `measure_norm`; 0 without leaves."""
    if stats is None:
        return as_state(0.0)
    return safe_sqrt(jnp.sum(stats["squares"])) / last["scale"]


def factor_to(bound: Array, norm: Array) -> Array:
    """Computes `min(1, bound / norm)`, elementwise: the factor that scales a norm down to a bound.

    A NaN norm gives a NaN factor, so that updates which are not finite do not look clipped.
    """
    inside = bound >= norm
    one = jnp.ones_like(norm)
    # The inner `where` avoids bound / 0, also in the derivative.
    return jnp.where(inside, one, bound / jnp.where(inside, one, norm))


def global_norm(tree: PyTree) -> Array:
    """Computes the Euclidean norm of all arrays of a tree together, in at least float32.

    Args:
      tree: arrays of any dtypes; None and empty nodes are skipped.

    Returns:
      Scalar `()`. Infinite or NaN only if an element is, or if the norm exceeds float32.

    Example:
      >>> float(global_norm({"a": jnp.array([3.0]), "b": jnp.array([4.0])}))
      5.0
    """
    norms = [as_state(scaled_norm(_wide(x))) for x in jax.tree.leaves(tree, is_leaf=is_sparse)]
    return combine_norms(jnp.stack(norms) if norms else None)


def _wide(x: Any) -> Array:
    """Returns the values of a leaf as an array of at least float32."""
    if is_sparse(x):
        return coalesced(x, compute_dtype(x.dtype)).data
    x = jnp.asarray(x)
    floating = jnp.issubdtype(x.dtype, jnp.inexact)
    return x.astype(compute_dtype(x.dtype if floating else jnp.float32))
