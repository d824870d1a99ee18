"""Divergences between distributions."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .inputs import Axis, broadcast

__all__ = [
    "convex_kl_divergence",
    "generalized_kl_divergence",
    "kl_divergence",
    "kl_divergence_with_log_targets",
]

Array = jax.Array


def _x_log_x(x: Array) -> Array:
    # The inner where keeps the derivative finite at 0, where the derivative of log is infinite.
    positive = x > 0
    return jnp.where(positive, x * jnp.log(jnp.where(positive, x, 1.0)), 0.0)


def kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """Computes the Kullback-Leibler divergence of targets from predictions: sum y (log y - log p).

    Args:
      log_predictions: logarithms of probabilities p, `(..., dim)`.
      targets: probabilities y, broadcast with log_predictions; y = 0 adds nothing.
      axis: the axis of the sum.
      where: mask of the elements that count.

    Example:
      >>> p = jnp.log(jnp.array([0.5, 0.5]))
      >>> print(kl_divergence(p, jnp.array([1.0, 0.0])).round(4))
      0.6931

    Reference: Kullback & Leibler, On information and sufficiency, Annals of Mathematical
    Statistics, 1951.
    """
    log_p, y = broadcast("kl_divergence", log_predictions=log_predictions, targets=targets)
    return jnp.sum(_x_log_x(y) - y * log_p, axis, where=where)


def kl_divergence_with_log_targets(
    log_predictions: ArrayLike,
    log_targets: ArrayLike,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Computes `kl_divergence` for targets that are logarithms of probabilities as well.

    Example:
      >>> p = jnp.log(jnp.array([0.5, 0.5]))
      >>> float(kl_divergence_with_log_targets(p, p))
      0.0
    """
    log_p, log_y = broadcast(
        "kl_divergence_with_log_targets", log_predictions=log_predictions, log_targets=log_targets
    )
    return jnp.sum(jnp.exp(log_y) * (log_y - log_p), axis, where=where)


def generalized_kl_divergence(
    log_predictions: ArrayLike, targets: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """Computes `kl_divergence` for values that need not sum to 1: sum y (log y - log p) + p - y.

    It is never negative, and 0 only where both are equal.

    Example:
      >>> float(generalized_kl_divergence(jnp.log(jnp.array([2.0, 3.0])), jnp.array([2.0, 3.0])))
      0.0

    Reference: Boyd & Vandenberghe, Convex Optimization, 2004, page 90.
    """
    log_p, y = broadcast(
        "generalized_kl_divergence", log_predictions=log_predictions, targets=targets
    )
    return jnp.sum(_x_log_x(y) - y * log_p + jnp.exp(log_p) - y, axis, where=where)


convex_kl_divergence = generalized_kl_divergence
"""Computes `generalized_kl_divergence`, of which this is the older name."""
