"""COCOB: bets on the sign of the gradient, without a learning rate."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
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
    """Returns the step from p to the parameters that a coin-betting algorithm chooses.

    For one parameter of shape `*p` that started at p0, elementwise:

        scale                <- max(scale, |g|),    eps at the start
        subgradients         <- subgradients + |g|
        reward               <- max(reward - g (p - p0), 0)
        cumulative_gradients <- cumulative_gradients - g
        bet = cumulative_gradients / max(subgradients + scale, alpha scale)
        u   = p0 + bet (1 + reward / scale) - p

    The state keeps these four and p0 as `init_particles`, each of shape `*p`. `alpha` `()` has no
    unit; `eps` `()` is in units of g. u does not depend on the scale of g: the initial wealth is 1,
    in units of p.

    Args:
      alpha: about the number of first updates whose bets are small; 100 in the paper.
      eps: scale at the start, above 0; in units of g.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax rounds u to the dtype of the parameters.

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
    moved = p - slots.init_particles
    reward = jnp.maximum(slots.reward - g * moved, 0.0)
    gradients = slots.cumulative_gradients - g
    # Two quotients of values with the same unit: squares of small gradients are out of range, and
    # XLA rewrites a quotient of a quotient as a division by the product of both divisors.
    bet = gradients / jnp.maximum(total + scale, alpha * scale)
    new_slots = {
        "init_particles": slots.init_particles,
        "cumulative_gradients": gradients,
        "scale": scale,
        "subgradients": total,
        "reward": reward,
    }
    return bet * (1 + reward / scale) - moved, new_slots


@composed
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

        p <- p + u,    u from `scale_by_cocob` of learning_rate (g + weight_decay p)

    `learning_rate` `()` has no unit; it multiplies the gradient, so that a schedule gives weights
    to gradients.

    Args:
      learning_rate: factor of the gradient; 1, or a schedule of weights.
      mask: which parameters decay; see `masked`.
      See `scale_by_cocob` and `add_decayed_weights` for the others.

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
