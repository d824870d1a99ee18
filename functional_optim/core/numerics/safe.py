"""Norms with a derivative at 0, and scaling of gradients in the backward computation."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..protocol import PyTree
from .precision import real_dtype

__all__ = ["safe_norm", "safe_root_mean_squares", "scale_gradient"]

Array = jax.Array


def safe_norm(
    x: ArrayLike,
    min_norm: ArrayLike,
    ord: int | float | str | None = None,
    axis: int | tuple[int, ...] | None = None,
    keepdims: bool = False,
) -> Array:
    """Computes the norm of an array, or `min_norm` where that is larger, with derivative 0 there.

    `jnp.maximum(jnp.linalg.norm(x), min_norm)` has the derivative NaN at x = 0.

    Args:
      x: array, or a number.
      min_norm: the lower bound of the result.
      ord, axis, keepdims: as in `jnp.linalg.norm`.

    Example:
      >>> float(safe_norm(jnp.array([3.0, 4.0]), 1e-6))
      5.0
      >>> jax.grad(safe_norm)(jnp.zeros(2), 1e-6)
      Array([0., 0.], dtype=float32)
    """
    x = jnp.asarray(x)
    norm = functools.partial(jnp.linalg.norm, ord=ord, axis=axis)
    small = norm(x, keepdims=True) <= min_norm
    # `where` differentiates both branches, so the norm that is not used must not be taken at 0.
    nonzero = jnp.where(jnp.broadcast_to(small, x.shape), jnp.ones_like(x), x)
    small = small if keepdims else jnp.squeeze(small, axis=axis)
    value = norm(nonzero, keepdims=keepdims)
    return jnp.where(small, jnp.asarray(min_norm, value.dtype), value)


def safe_root_mean_squares(x: ArrayLike, min_rms: ArrayLike) -> Array:
    """Computes the root mean square, or `min_rms` where that is larger, with derivative 0 there.

    Args:
      x: array, or a number; complex elements are squared by their modulus.
      min_rms: the lower bound of the result.

    Example:
      >>> float(safe_root_mean_squares(jnp.array([1.0, 7.0]), 1e-6))
      5.0
    """
    x = jnp.ravel(jnp.asarray(x))
    # The mean is taken outside of the norm, so that its safe derivative can be used.
    root = jnp.sqrt(jnp.asarray(max(x.size, 1), real_dtype(x.dtype)))
    return safe_norm(x, min_rms * root) / root


# The identity, whose backward computation is replaced by a multiplication.
@jax.custom_vjp
def _scaled(inputs: PyTree, scale: Array) -> PyTree:
    del scale
    return inputs


def _forward(inputs: PyTree, scale: Array) -> tuple[PyTree, Array]:
    return inputs, scale


def _backward(scale: Array, grads: PyTree) -> tuple[PyTree, None]:
    return jax.tree.map(lambda g: _times(g, scale), grads), None


def _times(g: Array, scale: Array) -> Array:
    # The gradients of integers are of float0, a dtype without values.
    return g if g.dtype == jax.dtypes.float0 else g * scale.astype(g.dtype)


_scaled.defvjp(_forward, _backward)


def scale_gradient(inputs: PyTree, scale: ArrayLike) -> PyTree:
    """Returns the arrays unchanged, and scales the gradients that flow back through them.

    Args:
      inputs: tree of arrays, `*p` each.
      scale: `()`, the factor; 0 stops the gradient, -1 reverses it.

    Example:
      >>> jax.grad(lambda x: 3 * scale_gradient(x, 0.5))(1.0)
      Array(1.5, dtype=float32)
    """
    return _scaled(inputs, jnp.asarray(scale))
