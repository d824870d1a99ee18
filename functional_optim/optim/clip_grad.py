"""torch.nn.utils.clip_grad: clips trees of gradients outside of a transformation."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype, real_dtype
from ..core.numerics.validation import Interval, as_number, as_state
from ..core.protocol import PyTree
from ..core.trees.norms import global_norm
from ..core.trees.sparse_rows import coalesce_rows

__all__ = ["clip_grad_norm", "clip_grad_value", "clip_grads_with_norm", "get_total_norm"]

Array = jax.Array

_BOUND = Interval("[0, inf]")


def clip_grad_norm(
    grads: PyTree, max_norm: ArrayLike, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> tuple[PyTree, Array]:
    """Scales gradients down, all by one factor, so that their norm is at most `max_norm`.

        clipped = g min(1, max_norm / (norm + 1e-6)),    norm from `get_total_norm`

    `max_norm` `()` is in units of g; with infinity, nothing is clipped, and only the norm is
    computed. If the norm is NaN, all gradients become NaN; if it is infinite, they become 0, and
    NaN where they are not finite, as in torch. The transformation `clip_by_global_norm` does the
    same in a chain; it has the norm in its `metrics`, and guards can see it.

    Differences: torch's function writes into the gradients and returns only the norm; for the
    order 0, see `get_total_norm`.

    Args:
      grads: tree of arrays; None for a parameter without a gradient.
      norm_type: order of the norm.
      error_if_nonfinite: raise instead. This reads the norm, which waits for the device and is
        not possible within a trace.

    Returns:
      The clipped gradients, and the norm before clipping, `()`.

    Raises:
      ValueError: max_norm < 0.
      RuntimeError: the norm is not finite, with error_if_nonfinite.
      TypeError: error_if_nonfinite within jit.

    Example:
      >>> from functional_optim import optim
      >>> clipped, norm = optim.clip_grad_norm({"w": jnp.array([3.0, 4.0])}, 1.0)
      >>> clipped["w"].round(3).tolist(), float(norm)
      ([0.6000000238418579, 0.800000011920929], 5.0)

    Reference: Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural
    networks, ICML 2013, Algorithm 1, arXiv:1211.5063.
    """
    max_norm = as_number(max_norm, "clip_grad_norm: max_norm", _BOUND)
    norm = get_total_norm(grads, norm_type, error_if_nonfinite)
    return _scaled_down(grads, max_norm, norm), norm


def get_total_norm(
    grads: PyTree, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Array:
    """Computes the norm `()` of all gradients together, in at least float32.

    The norm of order p is (sum |g|^p)^(1/p) over all elements, in units of g; the largest |g| for
    p = inf, the smallest for -inf, and for p = 0 the number of elements that are not 0. It is
    computed in a scale in which it is finite wherever float32 can hold it, and is 0 without
    gradients.

    Differences: torch takes the norm of the norms of its tensors, which for p = 0 is the number
    of tensors that are not all 0.

    Args:
      grads: tree of arrays; None for a parameter without a gradient.
      norm_type: p.
      error_if_nonfinite: see `clip_grad_norm`.
    """
    norm = _total_norm(_arrays(grads), float(as_number(norm_type, "get_total_norm: norm_type")))
    if error_if_nonfinite:
        if isinstance(norm, jax.core.Tracer):
            raise TypeError(
                "get_total_norm: error_if_nonfinite reads the norm, which has no value within a "
                "trace (jit, grad, scan, ...). Leave it out there, and look at the norm outside."
            )
        if not jnp.isfinite(norm):
            raise RuntimeError(
                f"The total norm of order {norm_type} for gradients is non-finite, so it cannot "
                f"be clipped: it is {norm}. To scale the gradients by it anyway, set "
                "error_if_nonfinite=False."
            )
    return norm


def clip_grads_with_norm(grads: PyTree, max_norm: ArrayLike, total_norm: ArrayLike) -> PyTree:
    """Scales gradients by `min(1, max_norm / (total_norm + 1e-6))`, for a known norm.

    `max_norm` and `total_norm` `()` are in units of g.

    Raises:
      ValueError: max_norm < 0.
    """
    max_norm = as_number(max_norm, "clip_grads_with_norm: max_norm", _BOUND)
    return _scaled_down(grads, max_norm, total_norm)


def clip_grad_value(grads: PyTree, clip_value: ArrayLike) -> PyTree:
    """Clips every element to [-clip_value, clip_value], in units of g.

    Both parts of a complex element are clipped; torch raises for complex gradients. NaN stays.

    Raises:
      ValueError: clip_value < 0.

    Example:
      >>> from functional_optim import optim
      >>> optim.clip_grad_value({"w": jnp.array([-3.0, 0.5])}, 1.0)
      {'w': Array([-1. ,  0.5], dtype=float32)}
    """
    bound = as_number(clip_value, "clip_grad_value: clip_value", _BOUND)
    return _clipped(grads, bound)


def _arrays(grads: PyTree) -> list[Array]:
    """Returns the gradients that are numbers; for integer parameters, jax.grad returns float0."""
    return [g for g in jax.tree.leaves(coalesce_rows(grads)) if _is_number(g)]


def _is_number(g: ArrayLike) -> bool:
    return jnp.issubdtype(jnp.result_type(g), jnp.inexact)  # indices of sparse arrays are not


@functools.partial(jax.jit, static_argnames="p")
def _total_norm(grads: list[Array], p: float) -> Array:
    magnitudes = [as_state(jnp.abs(_wide(g))).ravel() for g in grads if g.size]
    if not magnitudes:
        return as_state(0.0)
    if p == 2:
        return as_state(global_norm(grads))
    if p == 0:
        return sum((as_state(jnp.count_nonzero(g)) for g in magnitudes), as_state(0.0))
    reduce = jnp.max if p > 0 else jnp.min
    extreme = reduce(jnp.stack([reduce(g) for g in magnitudes]))
    if math.isinf(p):
        return extreme
    # Divide by the magnitude that dominates the sum, because its power may over- or underflow.
    unit = jnp.where((extreme > 0) & jnp.isfinite(extreme), extreme, jnp.ones_like(extreme))
    powers = sum((jnp.sum((g / unit) ** p) for g in magnitudes), as_state(0.0))
    return unit * powers ** (1 / p)


@jax.jit
def _scaled_down(grads: PyTree, max_norm: Array, total_norm: Array) -> PyTree:
    factor = jnp.minimum(as_state(max_norm) / (as_state(total_norm) + 1e-6), 1.0)

    def scaled(g: Array) -> Array:
        if not _is_number(g):
            return g
        wide = _wide(g)
        return (wide * factor.astype(real_dtype(wide.dtype)).astype(wide.dtype)).astype(g.dtype)

    return jax.tree.map(scaled, grads)


@jax.jit
def _clipped(grads: PyTree, bound: Array) -> PyTree:
    def clipped(g: Array) -> Array:
        if not _is_number(g):
            return g
        if jnp.iscomplexobj(g):
            return jax.lax.complex(clipped(g.real), clipped(g.imag))
        limit = bound.astype(g.dtype)
        return jnp.clip(g, -limit, limit)

    return jax.tree.map(clipped, coalesce_rows(grads))


def _wide(g: ArrayLike) -> Array:
    g = jnp.asarray(g)
    return g.astype(compute_dtype(g.dtype))
