"""Updates as long as their parameters."""

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.rules.arguments import NonNegative
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import leaf_norm

__all__ = ["scale_by_trust_ratio", "trust_ratio"]

Array = jax.Array


def trust_ratio(
    g: Array, p: Array, min_norm: Array, coefficient: Array | float = 1.0, eps: Array | float = 0.0
) -> Array:
    """Computes coefficient |p| / (|g| + eps), with norms of at least `min_norm`; 1 if one is 0."""
    p_norm, g_norm = (jnp.maximum(leaf_norm(x), min_norm) for x in (p, g))
    is_positive = (p_norm > 0) & (g_norm > 0)
    divisor = jnp.where(is_positive, g_norm + eps, 1.0)
    return jnp.where(is_positive, coefficient * p_norm / divisor, 1.0)


@leaf_rule(needs=("params",), split_complex=False)
def scale_by_trust_ratio(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    min_norm: NonNegative = 0.0,
    trust_coefficient: NonNegative = 1.0,
    eps: NonNegative = 0.0,
) -> tuple[Array, dict[str, Array]]:
    """Gives the updates of each parameter the length of that parameter.

    For one parameter of shape `*p`, with Euclidean norms of the whole array, at least
    `min_norm`:

        u = g trust_coefficient |p| / (|g| + eps),    u = g where |p| or |g| is 0

    `trust_coefficient` `()` is in units of u / p; `min_norm` and `eps` `()` are in units of
    p and of g.

    Args:
      min_norm: the least norm of a parameter and of an update, in units of p and of g.
      trust_coefficient: ratio of the norm of u to the norm of p; 0.001 in LARS.
      eps: added to |g|; in units of g.

    Raises:
      ValueError: an argument is negative, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_trust_ratio(), {"w": jnp.array([0.0, 10.0])}
      >>> tx.update({"w": jnp.array([3.0, 4.0])}, tx.init(params), params)[0]
      {'w': Array([6., 8.], dtype=float32)}

    Reference: You, Gitman & Ginsburg, Large batch training of convolutional networks, 2017,
    equation 6, arXiv:1708.03888.
    """
    del slots, ctx
    ratio = trust_ratio(g, p, min_norm, trust_coefficient, eps)
    return ratio.astype(g.dtype) * g, {}
