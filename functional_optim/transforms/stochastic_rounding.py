"""Narrow parameters that are rounded up or down at random."""

from typing import Any

import jax

from ..core.rounding import is_narrow, rounded, uniform
from ..core.rule import leaf_rule

__all__ = ["stochastic_rounding"]

Array = jax.Array


@leaf_rule(keys=("key",), requires=("params",), exact=True, parts=False)
def stochastic_rounding(
    g: Array, slots: Any, p: Array, now: Any, key: Any
) -> tuple[Array, dict[str, Array]]:
    """Rounds new parameters of a narrow dtype up or down at random, so that their mean is right.

    For one parameter of shape `*p`, between whose dtype's numbers a < b the sum p + g lies:

        q = b with probability (p + g - a) / (b - a), and a otherwise
        u = q - p

    so that `apply_updates` makes p = q. Without it, a step of less than half the distance to the
    next number is lost: in bfloat16, 1.0 does not move by 1e-3, however often. With it, the
    parameter takes the whole distance at one step in four. It keeps nothing of a parameter, where
    `kahan_summation` and `master_remainder` keep 2 bytes of each element and `master_weights` 4;
    the noise that it adds is that of the rounding.

    It belongs at the end of a chain, after the learning rate. Parameters of float32 and wider pass
    as they are. The numbers are a function of the key, of the count of updates and of the leaf's
    number, and not of how the arrays are sharded.

    Args:
      key: an integer, or a key of `jax.random.key`, which may be traced.

    Differences: optax has no such link.

    Raises:
      TypeError: key is neither of these.
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
    if not is_narrow(now.param_dtype):
        return g, {}
    return rounded(p + g, now.param_dtype, uniform(key, g)) - p, {}
