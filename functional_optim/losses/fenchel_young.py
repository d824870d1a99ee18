"""Fenchel-Young losses, derived from a convex function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .inputs import as_floats

__all__ = ["make_fenchel_young_loss"]

Array = jax.Array


def make_fenchel_young_loss(max_fun: Callable[..., Array]) -> Callable[..., Array]:
    """Makes the Fenchel-Young loss of a convex function: max_fun(scores) - <scores, targets>.

    Its derivative by the scores is the derivative of max_fun minus the targets.

    Args:
      max_fun: convex function `max_fun(scores, *args, **kwargs) -> ()` of one example, such as
        `jax.nn.logsumexp`.

    Returns:
      `loss(scores, targets, *args, **kwargs)` of arrays `(..., n)`, which returns `(...)`.

    Example:
      >>> cross_entropy = make_fenchel_young_loss(jax.nn.logsumexp)
      >>> print(cross_entropy(jnp.zeros(2), jnp.array([1.0, 0.0])).round(4))
      0.6931

    Reference: Blondel, Martins & Niculae, Learning with Fenchel-Young losses, JMLR 2020,
    arXiv:1901.02324.
    """

    def fenchel_young_loss(
        scores: ArrayLike, targets: ArrayLike, *args: Any, **kwargs: Any
    ) -> Array:
        x, y = as_floats(scores, targets)
        largest = jnp.vectorize(lambda x: max_fun(x, *args, **kwargs), signature="(n)->()")
        return largest(x) - jnp.vectorize(jnp.vdot, signature="(n),(n)->()")(y, x)

    return fenchel_young_loss
