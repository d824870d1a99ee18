"""Master weights: float32 copies of parameters in a narrow dtype."""

import jax

from ..core.decorators import leaf_rule
from ..core.rules.arguments import StateDtype
from ..core.rules.context import Slots, StepContext

__all__ = ["master_weights"]

Array = jax.Array


@leaf_rule(slots=lambda p: {"master": p}, needs=("params",), keep_compute_dtype=True)
def master_weights(
    g: Array, slots: Slots, p: Array, ctx: StepContext, *, state_dtype: StateDtype = None
) -> tuple[Array, dict[str, Array]]:
    """Accumulates updates in float32; narrow parameters are the rounded sums.

    For one parameter of shape `*p`:

        master <- master + g
        u       = master - p

    so that `apply_updates` makes p the master rounded to the parameter's dtype. Without it, a
    step of less than half the distance to the next number of that dtype is lost: in bfloat16,
    1.0 does not move by 1e-3, however often. Put this at the end of a chain, after the
    learning rate. Transformations before it read the rounded parameters.

    The state keeps master, of shape `*p`, in units of p, which starts as the parameter. To lose
    nothing at the start, pass float32 parameters to `init`, and the narrow ones to `update`. For
    parameters in float32 it changes nothing and costs a copy; leave them out with `masked`.

    Args:
      state_dtype: dtype of master; None for float32 or wider.

    Differences: optax has no such transformation.

    Raises:
      ValueError: `update` is called without params.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> tx = fo.chain(fo.sgd(1e-3), fo.master_weights())
      >>> params = {"w": jnp.ones((), jnp.bfloat16)}
      >>> state = tx.init(params)
      >>> for _ in range(100):
      ...     updates, state = tx.update({"w": jnp.ones((), jnp.bfloat16)}, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> print(params["w"])
      0.898438

    Reference: Micikevicius et al., Mixed precision training, ICLR 2018, section 3.1,
    arXiv:1710.03740.
    """
    del ctx, state_dtype
    master = slots.master + g
    return master - p, {"master": master}
