"""Fromage: updates relative to the norm of their parameters."""

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.rules.arguments import NonNegative
from ..core.rules.context import Slots, StepContext
from ..transforms.trust_ratio import trust_ratio

__all__ = ["fromage"]

Array = jax.Array


def _step_scalars(learning_rate: Array) -> dict[str, Array]:
    """Computes the factors of the parameter and of the update."""
    squared = jnp.square(learning_rate)
    root = jnp.sqrt(1 + squared)
    # 1 / root - 1 would cancel for a small learning rate.
    return {"contraction": -squared / (root * (1 + root)), "step": -learning_rate / root}


@leaf_rule(step_scalars=_step_scalars, needs=("params",), split_complex=False)
def fromage(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative,
    min_norm: NonNegative = 1e-6,
) -> tuple[Array, dict[str, Array]]:
    """Fromage: a step relative to each parameter's norm, then a contraction that bounds the norm.

    For one parameter of shape `*p`, with Euclidean norms of the whole array, each taken as at least
    `min_norm`:

        p <- (p - learning_rate g |p| / |g|) / sqrt(1 + learning_rate^2)

    `learning_rate` `()` has no unit; `min_norm` `()` is in units of p and of g.

    Args:
      learning_rate: length of a step, as a share of the parameter's norm.
      min_norm: the least norm of a parameter and of its gradient; in units of p and of g.

    Raises:
      ValueError: an argument is negative, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.fromage(0.75), {"w": jnp.array([1.0, 0.0])}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, 2.0])}, tx.init(params), params)
      >>> bool(jnp.allclose(fo.apply_updates(params, updates)["w"], jnp.array([0.8, -0.6])))
      True

    Reference: Bernstein et al., On the distance between two neural networks and the stability
    of learning, NeurIPS 2020, Algorithm 1, arXiv:2002.03432.
    """
    del slots, learning_rate
    step = ctx.step * trust_ratio(g, p, min_norm)
    return ctx.contraction.astype(p.dtype) * p + step.astype(g.dtype) * g, {}
