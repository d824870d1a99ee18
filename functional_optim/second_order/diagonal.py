"""Diagonals of the Hessian, exact and estimated, and of the Fisher matrix."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.trees.varying import varying_like
from ..microbatching import AccumulationType, micro_grad
from ..tree import random_like

__all__ = ["fisher_diag", "hessian_diag", "hutchinson_diag"]

Array = jax.Array
Loss = Callable[..., Array]

_BATCH_SIZE = 64
"""Number of products computed together; larger batches take more memory and are not faster."""


def hessian_diag(loss: Loss, params: PyTree, *args: object, **kwargs: object) -> PyTree:
    """Computes the exact diagonal of the Hessian, by one product for each element.

    Args:
      loss: `loss(params, *args, **kwargs) -> ()`.
      params: real parameters, with few elements.

    Returns:
      A tree shaped like params.

    Differences: optax returns one vector.

    Example:
      >>> hessian_diag(lambda p: jnp.sum(p["w"] ** 3), {"w": jnp.array([1.0, 2.0])})
      {'w': Array([ 6., 12.], dtype=float32)}
    """
    params = jax.tree.map(jnp.asarray, params)
    # Linearized once, the gradient is not computed again for each product.
    _, product = jax.linearize(jax.grad(lambda p: loss(p, *args, **kwargs)), params)
    treedef: jax.tree_util.PyTreeDef
    leaves, treedef = jax.tree.flatten(params)

    def diagonal(k: int) -> Array:
        p = leaves[k]

        def element(j: Array) -> Array:
            unit = jnp.zeros(p.size, p.dtype).at[j].set(1).reshape(p.shape)
            tangent = [unit if i == k else jnp.zeros_like(x) for i, x in enumerate(leaves)]
            return jax.tree.leaves(product(treedef.unflatten(tangent)))[k].reshape(-1)[j]

        elements = jax.lax.map(
            element, jnp.arange(p.size), batch_size=min(p.size, _BATCH_SIZE) or None
        )
        return elements.reshape(p.shape)

    return treedef.unflatten([diagonal(k) for k in range(len(leaves))])


def hutchinson_diag(
    loss: Loss, params: PyTree, *args: object, key: Array, samples: int = 1, **kwargs: object
) -> PyTree:
    """Estimates the diagonal of the Hessian: the mean of z * (H z) over random signs z.

    The expectation is the diagonal; the variance of element i is the sum of the squares of the
    other elements in row i, divided by `samples`. It is exact where the Hessian is diagonal.

    Args:
      loss: `loss(params, *args, **kwargs) -> ()`.
      params: real parameters.
      key: a key of `jax.random.key`.
      samples: number of products, computed one after another.

    Returns:
      A tree shaped like params.

    Example:
      >>> loss = lambda p: jnp.sum(p["w"] ** 3)
      >>> hutchinson_diag(loss, {"w": jnp.array([1.0, 2.0])}, key=jax.random.key(0))
      {'w': Array([ 6., 12.], dtype=float32)}

    Reference: Bekas, Kokiopoulou & Saad, An estimator for the diagonal of a matrix, Applied
    Numerical Mathematics 57, 2007, equation 3.
    """
    if samples < 1:
        raise ValueError(f"hutchinson_diag: samples must be at least 1, got {samples}.")
    params = jax.tree.map(jnp.asarray, params)
    _, product = jax.linearize(jax.grad(lambda p: loss(p, *args, **kwargs)), params)

    def estimate(key: Array) -> PyTree:
        signs = varying_like(random_like(key, params, jax.random.rademacher), params)
        return jax.tree.map(jnp.multiply, signs, product(signs))

    estimates = jax.lax.map(estimate, jax.random.split(key, samples))
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), estimates)


def fisher_diag(
    negative_log_likelihood: Loss,
    params: PyTree,
    *batches: PyTree,
    microbatch_size: int | None = None,
) -> PyTree:
    """Computes the diagonal of the observed Fisher matrix.

    It is the mean over examples of the squares of each example's gradient.

    Args:
      negative_log_likelihood: `f(params, *batches) -> ()`, called with batches of one.
      params: real parameters.
      *batches: arrays or trees of them, the first axis over examples: inputs and targets.
      microbatch_size: number of examples whose gradients are computed together; None for all.

    Returns:
      A tree shaped like params.

    Differences: optax squares the gradient of the whole batch, which differs unless the batch has
    one example, and returns one vector.

    Example:
      >>> nll = lambda p, x, y: 0.5 * jnp.mean((x * p["w"] - y) ** 2)
      >>> fisher_diag(nll, {"w": jnp.array(0.0)}, jnp.array([1.0, 1.0]), jnp.array([1.0, -3.0]))
      {'w': Array(5., dtype=float32)}
    """
    mean_squares, _ = micro_grad(
        negative_log_likelihood,
        batch_argnums=range(1, 1 + len(batches)),
        microbatch_size=microbatch_size,
        accumulator=AccumulationType.MEAN,
        transform_fn=lambda g: jax.tree.map(jnp.square, g),
    )(jax.tree.map(jnp.asarray, params), *batches)
    return mean_squares
