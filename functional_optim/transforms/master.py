"""Parameters in a narrow dtype, which nevertheless move by small steps."""

from typing import Any

import jax

from ..core.rule import leaf_rule

__all__ = ["master_weights"]

Array = jax.Array


@leaf_rule(slots=lambda p: {"master": p}, requires=("params",), exact=True)
def master_weights(g: Array, slots: Any, p: Array, now: Any) -> tuple[Array, dict[str, Array]]:
    """Adds updates up in float32, of which narrow parameters are the rounded values.

    For one parameter of shape `*p`:

        master <- master + g
        u       = master - p

    so that `apply_updates` makes p the master rounded to the parameter's dtype. Without it, a
    step of less than half the distance to the next number of that dtype is lost: in bfloat16,
    1.0 does not move by 1e-3, however often. It belongs at the end of a chain, after the
    learning rate. Links before it read the rounded parameters.

    The state keeps master, of shape `*p`, in units of p, which starts as the parameter: pass
    those of float32 to `init`, and to `update` the narrow ones, to lose nothing at the start.
    For parameters in float32 it changes nothing, and costs a copy: see `masked`.

    Differences: optax has no such link.

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
    del now
    master = slots.master + g
    return master - p, {"master": master}
