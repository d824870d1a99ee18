"""Adamax, and AdamaxW: Adam with the largest gradient in place of the root mean square."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import mean_weights, running_mean
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adamax", "adamaxw", "scale_by_adamax"]

Array = jax.Array


def _clock(
    t: Array, last: Mapping[str, Array], b1: Array, **_: Any
) -> tuple[dict[str, Any], dict[str, Array]]:
    return {"mu": mean_weights(t, b1, last["b1"])}, {"b1": b1}


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")},
    clock=_clock,
    memory=("b1",),
    bounds={"b1": "[0, 1)", "b2": "[0, 1)", "eps": "[0, inf)"},
)
def scale_by_adamax(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-8,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by their largest absolute value, which fades.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m  <- b1 m + (1 - b1) g        mu = m / (1 - b1^t)
        nu <- max(b2 nu, |g| + eps)
        u   = mu / nu

    The state keeps mu, bias-corrected, and nu, each of shape `*p`. `b1`, `b2` `()` have no
    unit, `eps` `()` is in units of g; u has no unit.

    Differences: the paper has no eps; torch and optax have it where it is here, within the
    maximum. Complex parameters are pairs of real ones, as in torch; optax takes |g|.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adamax(b1=0.5, b2=0.75)
      >>> state = tx.init({"w": 0.0})
      >>> for g in (4.0, 1.0):
      ...     updates, state = tx.update({"w": g}, state)
      >>> float(state.mu["w"]), float(state.nu["w"])
      (2.0, 3.0)

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 2, arXiv:1412.6980.
    """
    del p, b1
    mu = running_mean(slots.mu, g, now.mu)
    nu = jnp.maximum(b2 * slots.nu, jnp.abs(g) + eps)
    return mu / nu, {"mu": mu, "nu": nu}


@optimizer(scale_by_adamax)
def adamax() -> None:
    """Adamax: `scale_by_adamax`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p: no element moves by much more than it in a step.
    The other arguments and the maths are those of `scale_by_adamax`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adamax(0.1)
      >>> fo.apply_updates({"w": 1.0}, tx.update({"w": 3.0}, tx.init({"w": 1.0}))[0])
      {'w': Array(0.9, dtype=float32)}

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 2, arXiv:1412.6980.
    """


@optimizer(scale_by_adamax, add_decayed_weights, defaults={"weight_decay": 1e-4})
def adamaxw() -> None:
    """AdamaxW: `scale_by_adamax`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adamax`

    `weight_decay` `()` has the unit of u per unit of p, that is 1 / p.

    Args:
      mask: where to decay: tree of booleans or function of the parameters, see `masked`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adamaxw(0.1, weight_decay=0.5)
      >>> params = {"w": 4.0}
      >>> fo.apply_updates(params, tx.update({"w": 0.0}, tx.init(params), params)[0])
      {'w': Array(3.8, dtype=float32)}

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 2, arXiv:1412.6980. Loshchilov & Hutter, Decoupled Weight Decay
    Regularization, ICLR 2019, arXiv:1711.05101.
    """
