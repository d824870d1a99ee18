"""Stochastic rounding of parameters in a narrow dtype."""

from typing import Annotated, Any

import jax

from ..core.decorators import leaf_rule
from ..core.numerics.rounding import as_float32, is_narrow, rounded, uniform
from ..core.rules.arguments import RandomKey
from ..core.rules.context import Slots, StepContext

__all__ = ["stochastic_rounding"]

Array = jax.Array


@leaf_rule(needs=("params",), keep_compute_dtype=True, split_complex=False)
def stochastic_rounding(
    g: Array, slots: Slots, p: Array, ctx: StepContext, key: Annotated[Any, RandomKey]
) -> tuple[Array, dict[str, Array]]:
    """Rounds new parameters of a narrow dtype up or down at random, so that their mean is right.

    For one parameter of shape `*p`, between whose dtype's numbers a < b the sum p + g lies:

        q = b with probability (p + g - a) / (b - a), and a otherwise
        u = q - p

    so that `apply_updates` makes p = q. Without it, a step of less than half the distance to the
    next number is lost: in bfloat16, 1.0 does not move by 1e-3, however often. With it, the
    parameter moves by the whole distance at one step in four. The state keeps no array, whereas
    `kahan_summation` and `master_remainder` keep 2 bytes for each element and `master_weights` 4;
    the price is the noise of the rounding.

    Put this at the end of a chain, after the learning rate. The updates of parameters in float32
    or wider stay as they are. The random numbers depend on the key, on the count of updates and on
    the leaf's number, and not on how the arrays are sharded.

    Args:
      key: an integer, or a key of `jax.random.key`, which may be traced.

    Differences: optax has no such transformation.

    Raises:
      TypeError: key is neither an integer nor a key.
      ValueError: `update` is called without params.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> tx = fo.chain(fo.sgd(1e-3), fo.stochastic_rounding(key=0))
      >>> params = {"w": jnp.ones(1000, jnp.bfloat16)}
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> print(f"{fo.apply_updates(params, updates)['w'].astype(jnp.float32).mean():.3f}")
      0.999

    Reference: Gupta et al., Deep learning with limited numerical precision, ICML 2015, section 3,
    arXiv:1502.02551; Zamirai et al., Revisiting bfloat16 training, 2020, section 3,
    arXiv:2010.06192.
    """
    del slots
    if not is_narrow(ctx.param_dtype):
        return g, {}
    wide, (g, p) = g.dtype, as_float32(g, p)
    moved = rounded(p + g, ctx.param_dtype, uniform(key, g)) - p
    return moved.astype(wide), {}
