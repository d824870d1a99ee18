"""Decoupled weight decay."""

from typing import Any

import jax

from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from .masking import maskable

__all__ = ["add_decayed_weights"]

Array = jax.Array


@maskable
@leaf_rule(requires=("params",), bounds={"weight_decay": "[0, inf)"}, rows=True)
def add_decayed_weights(
    g: Array, slots: Any, p: Array, now: Any, weight_decay: Hyperparameter = 0.0
) -> tuple[Array, dict[str, Array]]:
    """Adds a multiple of the parameters to the updates.

    For one parameter of shape `*p`: u = g + weight_decay p. Before a preconditioner this is
    an L2 penalty of weight_decay / 2 |p|^2; after it, and before the learning rate, it is
    the decoupled decay of AdamW. `weight_decay` `()` has the unit of g per unit of p; while
    it is 0, updates pass as they are, whatever the parameters. Of a parameter with a sparse
    update, the rows that have one decay, and the others rest.

    Args:
      mask: tree of booleans shaped like the parameters (or a prefix of that), or a function
        of the parameters that returns one; where it is False, the updates pass unchanged.

    Raises:
      ValueError: weight_decay < 0, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.add_decayed_weights(0.5)
      >>> params = {"w": 4.0}
      >>> tx.update({"w": 1.0}, tx.init(params), params)[0]
      {'w': Array(3., dtype=float32)}

    Reference: Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019,
    Algorithm 2, arXiv:1711.05101.
    """
    del slots, now
    # Adding -0 changes nothing. With g in both branches, XLA would keep it as an array of its own.
    none = jax.lax.full_like(p, -0.0)
    return g + jax.lax.select(weight_decay != 0, weight_decay * p, none), {}
