"""Ranking losses: functions of the scores of the items in a list."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .inputs import as_floats, broadcast, valid_classes

__all__ = ["ranking_softmax_loss"]

Array = jax.Array


def ranking_softmax_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduce_fn: Callable[..., Array] | None = jnp.mean,
) -> Array:
    """Computes the cross entropy of the relevances under the softmax of the scores in a list.

        -sum_i weight_i y_i log softmax(x)_i

    Differences: where a list has no valid item, optax's derivative is NaN; here it is 0.

    Args:
      logits: scores x `(..., items)`.
      labels: relevances y, not negative, of the same shape or broadcast with it.
      where: mask of valid items; a list without a valid item does not count.
      weights: weights of the items.
      reduce_fn: `jnp.mean`, `jnp.sum` or another, called with the losses and, as `where`, the
        mask of valid lists; None for the losses of the lists.

    Returns:
      `()`; without `reduce_fn`, `(...)`. The mean is 0 where no list is valid.

    Raises:
      ValueError: the shapes do not broadcast.

    Example:
      >>> scores, labels = jnp.log(jnp.array([1.0, 2.0, 1.0])), jnp.array([0, 1, 0])
      >>> jnp.exp(-ranking_softmax_loss(scores, labels)).tolist()
      0.5

    Reference: Cao et al., Learning to rank: from pairwise approach to listwise approach, ICML
    2007, section 4.
    """
    x, y = broadcast("ranking_softmax_loss", logits=logits, labels=labels)
    if weights is not None:
        y = y * jnp.broadcast_to(as_floats(weights)[0].astype(y.dtype), y.shape)
    if where is None:
        losses, valid_lists = -jnp.sum(y * jax.nn.log_softmax(x), axis=-1), None
    else:
        valid, valid_lists = valid_classes(where, x, -1)
        log_p = jax.nn.log_softmax(x, where=valid)
        losses = -jnp.sum(y * jnp.where(valid, log_p, 0.0), axis=-1, where=valid)
        losses = jnp.where(valid_lists, losses, 0.0)
    if reduce_fn is None:
        return losses
    if reduce_fn is jnp.mean and valid_lists is not None:
        return jnp.sum(losses) / jnp.maximum(jnp.sum(valid_lists.astype(losses.dtype)), 1.0)
    return reduce_fn(losses, where=valid_lists)
