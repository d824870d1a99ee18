"""Noise added to updates."""

from typing import Any

import jax

from ..core.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule

__all__ = ["add_noise"]

Array = jax.Array


@leaf_rule(
    keys=("key",),
    bounds={"eta": "[0, inf)", "gamma": "(-inf, inf)"},
    parts=False,
)
def add_noise(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    eta: Hyperparameter,
    gamma: Hyperparameter,
    key: Any,
) -> tuple[Array, dict[str, Array]]:
    """Adds normal noise to the updates, whose variance falls.

    For one parameter of shape `*p`, after t updates:

        u = g + sigma_t n,    sigma_t^2 = eta / (1 + t)^gamma,    n standard normal, of shape `*p`

    The noise is a function of the key, of t and of the leaf's number alone, so that a run that
    is taken up again, or computed again, has the same. Of a complex parameter the noise is
    complex, and its square has the mean sigma_t^2.

    `eta` `()` is in units of g squared, `gamma` `()` has no unit. The state keeps the words of the
    key under `keys`: vmap over keys to train with several.

    Args:
      key: an integer, or a key of `jax.random.key`, which may be traced.

    Differences: optax draws other numbers of a key, which it splits as it goes, and warns where
    there is none.

    Raises:
      TypeError: key is neither of these.
      ValueError: eta < 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> tx = fo.add_noise(eta=1.0, gamma=0.55, key=0)
      >>> updates, _ = tx.update({"w": jnp.zeros(10_000)}, tx.init({"w": jnp.zeros(10_000)}))
      >>> print(f"{updates['w'].std():.2f}")
      1.00

    Reference: Neelakantan et al., Adding gradient noise improves learning for very deep networks,
    2015, section 3, arXiv:1511.06807.
    """
    del slots, p
    sigma = safe_sqrt(eta * (1 + now.count).astype(eta.dtype) ** -gamma)
    return g + sigma.astype(g.dtype) * jax.random.normal(key, g.shape, g.dtype), {}
