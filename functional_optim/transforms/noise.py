"""Noise added to updates."""

from typing import Annotated, Any

import jax

from ..core.decorators import leaf_rule
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import NonNegative, RandomKey, Within
from ..core.rules.context import Slots, StepContext

__all__ = ["add_noise"]

Array = jax.Array


def _step_scalars(count: Array, eta: Array, gamma: Array) -> dict[str, Array]:
    return {"sigma": safe_sqrt(eta * (1 + count).astype(eta.dtype) ** -gamma)}


@leaf_rule(step_scalars=_step_scalars, split_complex=False)
def add_noise(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    eta: NonNegative,
    gamma: Annotated[Hyperparameter, Within("(-inf, inf)")],
    key: Annotated[Any, RandomKey],
) -> tuple[Array, dict[str, Array]]:
    """Adds normal noise to the updates, with a variance that falls from step to step.

    For one parameter of shape `*p`, after t updates:

        u = g + sigma_t n,    sigma_t^2 = eta / (1 + t)^gamma,    n standard normal, of shape `*p`

    The noise depends only on the key, on t and on the leaf's index, so that a run that is resumed
    or repeated has the same noise. A complex parameter has complex noise, with sigma_t^2 the mean
    of |noise|^2.

    `eta` `()` is in units of g^2, `gamma` `()` has no unit. The state keeps the words of the
    key under `keys`: vmap over keys to train with several.

    Args:
      eta: variance of the noise at the first update, in units of g^2.
      gamma: power with which the variance falls; 0 for a constant variance.
      key: an integer, or a key of `jax.random.key`, which may be traced.

    Differences: optax draws other numbers from a key, which it splits at each update, and warns if
    there is none.

    Raises:
      TypeError: key is neither an integer nor a key.
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
    del slots, p, eta, gamma
    return g + ctx.sigma.astype(g.dtype) * jax.random.normal(key, g.shape, g.dtype), {}
