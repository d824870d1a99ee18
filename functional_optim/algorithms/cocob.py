"""COCOB: steps that are bets on the sign of the gradient, without a learning rate."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.decorators import leaf_rule
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import NonNegative, Positive, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["cocob", "scale_by_cocob"]

Array = jax.Array


def _slots(p: Array, eps: Array) -> dict[str, Array]:
    zeros = ("cumulative_gradients", "subgradients", "reward")
    start = {"init_particles": p, "scale": jnp.full_like(p, eps)}
    return start | {k: jnp.zeros_like(p) for k in zeros}


@leaf_rule(slots=_slots, needs=("params",), keep_compute_dtype=True)
def scale_by_cocob(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    alpha: NonNegative = 100.0,
    eps: Positive = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Returns the way to the point that a bettor of continuous coins chooses for each element.

    For one parameter of shape `*p` that started at p0, elementwise:

        scale                <- max(scale, |g|),    eps at the start
        subgradients         <- subgradients + |g|
        reward               <- max(reward - g (p - p0), 0)
        cumulative_gradients <- cumulative_gradients - g
        bet = cumulative_gradients / max(subgradients + scale, alpha scale)
        u   = p0 + bet (1 + reward / scale) - p

    The state keeps these four and p0 as `init_particles`, each of shape `*p`. `alpha` `()`, without
    a unit, is about the number of updates in which bets are small; `eps` `()` is in units of g. u
    is the same for all scales of g: the first wealth is 1, in units of p.

    Differences: optax rounds the way to p to the dtype of the parameters.

    Raises:
      ValueError: alpha negative, eps not positive, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_cocob(alpha=4.0), {"w": 1.0}
      >>> tx.update({"w": 2.0}, tx.init(params), params)[0]
      {'w': Array(-0.25, dtype=float32)}

    Reference: Orabona & Tommasi, Training deep networks without learning rates through coin
    betting, NeurIPS 2017, Algorithm 2, arXiv:1705.07795.
    """
    del ctx, eps, state_dtype
    size = jnp.abs(g)
    scale = jnp.maximum(slots.scale, size)
    total = slots.subgradients + size
    way = p - slots.init_particles
    reward = jnp.maximum(slots.reward - g * way, 0.0)
    gathered = slots.cumulative_gradients - g
    # Two quotients of what has one unit: squares of small gradients are out of range, and XLA makes
    # a quotient of a quotient one by the product of both divisors.
    bet = gathered / jnp.maximum(total + scale, alpha * scale)
    kept = {
        "init_particles": slots.init_particles,
        "cumulative_gradients": gathered,
        "scale": scale,
        "subgradients": total,
        "reward": reward,
    }
    return bet * (1 + reward / scale) - way, kept


def cocob(
    learning_rate: ScalarOrSchedule = 1.0,
    alpha: ScalarOrSchedule = 100.0,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """COCOB-Backprop: `scale_by_cocob` of the gradient, with an L2 penalty.

        p <- p + u,    u of learning_rate (g + weight_decay p)

    `learning_rate` `()` has no unit; it multiplies the gradient, so that a schedule weighs
    gradients.

    Args:
      mask: where to decay, see `masked`.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.cocob(alpha=4.0), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 2.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(0.75, dtype=float32)}

    Reference: Orabona & Tommasi, Training deep networks without learning rates through coin
    betting, NeurIPS 2017, Algorithm 2, arXiv:1705.07795.
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_cocob(alpha, eps, state_dtype=state_dtype),
    )
