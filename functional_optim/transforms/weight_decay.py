"""Decoupled weight decay."""

import jax

from ..core.decorators import leaf_rule
from ..core.rules.arguments import NonNegative
from ..core.rules.context import Slots, StepContext
from .masking import maskable

__all__ = ["add_decayed_weights"]

Array = jax.Array


@maskable
@leaf_rule(needs=("params",), row_sparse=True)
def add_decayed_weights(
    g: Array, slots: Slots, p: Array, ctx: StepContext, weight_decay: NonNegative = 0.0
) -> tuple[Array, dict[str, Array]]:
    """Adds a multiple of the parameters to the updates.

    For one parameter of shape `*p`: u = g + weight_decay p. Before a preconditioner this is
    an L2 penalty of weight_decay / 2 |p|^2; after it, and before the learning rate, it is
    the decoupled decay of AdamW. `weight_decay` `()` has the unit of g per unit of p. If the
    update of a parameter is sparse, only the rows that it holds decay.

    Args:
      weight_decay: multiple of p that is added; in units of g per unit of p.
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
    del slots, ctx
    # In this order XLA compiles one loop for all leaves of a shape, also where g is a product.
    return weight_decay * p + g, {}
