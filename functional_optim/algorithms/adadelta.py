"""Adadelta: steps scaled by the ratio of recent steps to recent gradients."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import moment
from ..core.numerics.precision import TINY, safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Fraction, NonNegative, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adadelta", "scale_by_adadelta"]

Array = jax.Array


def _step_scalars(rho: Array, eps: Array) -> dict[str, Array]:
    """Computes the weight of the new squares, and a positive floor of the denominator."""
    # Where e_g and eps are 0, g is 0 as well, and 0 / 0 would be NaN.
    return {"gain": 1 - rho, "floor": jnp.maximum(eps, TINY)}


@leaf_rule(
    slots=lambda p: {"e_g": jnp.zeros_like(p), "e_x": jnp.zeros_like(p)},
    step_scalars=_step_scalars,
)
def scale_by_adadelta(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    rho: Fraction = 0.9,
    eps: NonNegative = 1e-6,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies updates by the ratio of the running root mean squares of steps and of updates.

    For one parameter of shape `*p`:

        e_g <- rho e_g + (1 - rho) g^2
        u    = sqrt(e_x + eps) / sqrt(e_g + eps) g
        e_x <- rho e_x + (1 - rho) u^2

    and u = 0 where e_g + eps = 0. The state keeps e_g and e_x, of shape `*p`, 0 at the start.
    `rho` `()` has no unit. u is in units of p, and e_x in units of p^2, where e_g is much larger
    than eps. `eps` `()` is added both to squares of steps and to squares of gradients. It
    determines the first steps of a run: with eps = 0 no parameter changes.

    Args:
      rho: decay of e_g and of e_x, in [0, 1].
      eps: added to e_x and to e_g under the roots; the first steps grow with it.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from optax. In torch a gradient of 0 gives NaN with eps = 0. The
    paper's experiments have rho 0.95.

    Raises:
      ValueError: rho outside [0, 1], or eps negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adadelta(rho=0.0, eps=16.0)
      >>> tx.update({"w": 3.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(2.4, dtype=float32)}

    Reference: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, Algorithm 1,
    arXiv:1212.5701.
    """
    del p, state_dtype
    e_g = moment(slots.e_g, jnp.square(g), rho, ctx.gain)
    u = safe_sqrt(eps + slots.e_x) / safe_sqrt(ctx.floor + e_g) * g
    return u, {"e_g": e_g, "e_x": moment(slots.e_x, jnp.square(u), rho, ctx.gain)}


@composed
def adadelta(
    learning_rate: ScalarOrSchedule = 1.0,
    rho: ScalarOrSchedule = 0.9,
    eps: ScalarOrSchedule = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Adadelta: an L2 penalty, `scale_by_adadelta`, then a step of minus the learning rate.

        p <- p - learning_rate u,    u from `scale_by_adadelta` of g + weight_decay p

    `learning_rate` `()` has no unit, because u is in units of p. `weight_decay` `()` is in units
    of g per unit of p.

    Args:
      weight_decay_mask: parameters that decay: a tree of booleans, or a function that returns one;
        None for all.
      See `scale_by_adadelta`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: in optax the learning rate is None by default, and updates then have the sign of
    the gradient; here it is 1, as in torch; the paper has no learning rate.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adadelta(rho=0.0, eps=16.0)
      >>> params = {"w": 0.0}
      >>> updates, _ = tx.update({"w": 3.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(-2.4, dtype=float32)}

    Reference: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, arXiv:1212.5701.
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps, state_dtype=state_dtype),
        scale_by_learning_rate(learning_rate),
    )
