"""Summing updates over several steps."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import StateDtype, Within
from ..core.rules.context import Slots, StepContext

__all__ = ["apply_every"]

Array = jax.Array


def _step_scalars(t: Array, k: Array) -> dict[str, Array]:
    """Computes whether the sum is returned at update number t; k may have a fraction."""
    return {"emit": jnp.floor(t / k) > jnp.floor((t - 1) / k)}


@leaf_rule(slots=lambda p: {"grad_acc": jnp.zeros_like(p)}, step_scalars=_step_scalars)
def apply_every(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    k: Annotated[Hyperparameter, Within("[1, inf)")] = 1,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Sums updates, and returns the sum at every k-th update; the other updates are zero.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        s <- s + g
        u  = s, and s <- 0, where k divides t; else 0

    `k` `()` is a number of updates. The links before this one run at each update, so that their
    moments are computed from the small batches. To get the numbers of larger batches, use
    `MultiSteps`, which sums gradients before a whole optimizer, or `microbatch`, which sums them
    within a step and needs less memory.

    The state keeps s as `grad_acc`, of shape `*p`, in units of g.

    Args:
      k: number of updates in a sum, at least 1.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Raises:
      ValueError: k < 1.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.apply_every(2)
      >>> state = tx.init({"w": 0.0})
      >>> for g in (1.0, 3.0):
      ...     updates, state = tx.update({"w": g}, state)
      ...     print(updates["w"])
      -0.0
      4.0
    """
    del p, k, state_dtype
    total = slots.grad_acc + g
    minus_zero = jax.lax.full_like(g, -0.0)  # adding -0 changes no bit of a parameter
    u = jax.lax.select(ctx.emit, total, minus_zero)
    return u, {"grad_acc": jax.lax.select(ctx.emit, minus_zero, total)}
