"""Updates that are gathered, and leave every few steps."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule

__all__ = ["apply_every"]

Array = jax.Array


@leaf_rule(slots=lambda p: {"grad_acc": jnp.zeros_like(p)}, bounds={"k": "[1, inf)"})
def apply_every(
    g: Array, slots: Any, p: None, now: Any, k: Hyperparameter = 1
) -> tuple[Array, dict[str, Array]]:
    """Sums updates, and lets the sum pass at every k-th one; the others are zero.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        s <- s + g
        u  = s, and s <- 0, where k divides t; else 0

    `k` `()` is a number of updates. The links before this one run at each update: their moments
    are those of the small batches. `MultiSteps` gathers gradients in front of a whole optimizer,
    and `microbatch` within a step, which needs less memory; both are what larger batches give.

    The state keeps s as `grad_acc`, of shape `*p`, in units of g.

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
    del p
    total = slots.grad_acc + g
    emit = jnp.floor(now.t / k) > jnp.floor((now.t - 1) / k)
    nothing = jnp.full_like(g, -0.0)
    return jnp.where(emit, total, nothing), {"grad_acc": jnp.where(emit, nothing, total)}
