"""Products of a Hessian with a vector."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.trees.structure import align

__all__ = ["as_tangent", "hvp"]


def hvp(loss: Callable[..., Any], v: PyTree, params: PyTree, *args: Any, **kwargs: Any) -> PyTree:
    """Computes the product of a Hessian and a vector, forward over backward.

    It costs about two gradients, and the memory of one.

    Args:
      loss: `loss(params, *args, **kwargs) -> ()`.
      v: tree shaped like params, or one array `(n,)` of all its elements in order.
      params: real parameters.

    Returns:
      A tree shaped like params.

    Raises:
      ValueError: v does not fit params.

    Example:
      >>> loss = lambda p, x: jnp.sum(x * p["w"] ** 3)
      >>> hvp(loss, {"w": jnp.ones(2)}, {"w": jnp.array([1.0, 2.0])}, jnp.array([1.0, 1.0]))
      {'w': Array([ 6., 12.], dtype=float32)}

    Reference: Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6, 1994.
    """
    grad = jax.grad(lambda p: loss(p, *args, **kwargs))
    params = jax.tree.map(jnp.asarray, params)
    return jax.jvp(grad, (params,), (as_tangent("hvp: v", v, params),))[1]


def as_tangent(where: str, v: PyTree, params: PyTree) -> PyTree:
    """Casts a tree of vectors to the dtypes of the parameters."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(params)
    total = sum(p.size for p in leaves)
    shape = getattr(v, "shape", None)
    if shape == (total,) and treedef != jax.tree.structure(v):
        ends = [sum(p.size for p in leaves[: i + 1]) for i in range(len(leaves))]
        parts = jnp.split(jnp.asarray(v), ends[:-1])
    else:
        parts = align(params, v, link=where, name="v")
    for p, x in zip(leaves, parts, strict=True):
        if jnp.size(x) != p.size:
            raise ValueError(
                f"{where} has an array of shape {jnp.shape(x)} for a parameter of shape {p.shape}. "
                f"Pass a tree shaped like params, or an array of shape ({total},)."
            )
    pairs = zip(leaves, parts, strict=True)
    return treedef.unflatten([jnp.asarray(x).reshape(p.shape).astype(p.dtype) for p, x in pairs])
