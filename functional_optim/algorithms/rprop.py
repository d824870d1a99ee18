"""Rprop: steps whose sizes depend only on the signs of the gradient."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import NonNegative, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale

__all__ = ["rprop", "scale_by_rprop"]

Array = jax.Array


def _step_scalars(learning_rate: Array, started: Array) -> dict[str, Array]:
    """Computes the first step size, to be added to the stored size, which is 0 at the start."""
    start = jnp.where(started > 0, jnp.zeros_like(learning_rate), learning_rate)
    return {"start": start, "started": jnp.ones_like(started)}


@leaf_rule(
    slots=lambda p: {"prev": jnp.zeros_like(p), "step_size": jnp.zeros_like(p)},
    carry=lambda: {"started": 0.0},
    step_scalars=_step_scalars,
)
def scale_by_rprop(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    learning_rate: NonNegative,
    eta_minus: Annotated[Hyperparameter, Within("(0, 1)")] = 0.5,
    eta_plus: Annotated[Hyperparameter, Within("(1, inf)")] = 1.2,
    min_step_size: NonNegative = 1e-6,
    max_step_size: Annotated[Hyperparameter, Within("[0, inf]")] = 50.0,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by steps of their sign, which grow until the sign changes.

    For one parameter of shape `*p`, element by element, with step_size = learning_rate and
    prev = 0 before its first update:

        agree     = sign(g) sign(prev)
        step_size <- eta_plus step_size     where agree > 0
                     eta_minus step_size    where agree < 0
                     within [min_step_size, max_step_size]
        g        <- 0                       where agree < 0
        u         = step_size sign(g)
        prev     <- g

    An element therefore does not move in the step at which its sign changes, and its step_size does
    not change in the next step. The state keeps prev, in units of g, and step_size, in units of p,
    both of shape `*p` and 0 until the first update. `learning_rate`, `min_step_size` and
    `max_step_size` `()` are in units of p, the etas have no unit; u is in units of p. Setting
    `learning_rate` later affects only parameters that have had no update yet.

    Rprop needs gradients of the whole data set: gradients of small batches change sign by chance.

    Args:
      learning_rate: step_size of all elements at the start, in units of p.
      eta_minus: factor of step_size where the sign changes, in (0, 1).
      eta_plus: factor of step_size where the sign stays, above 1.
      min_step_size, max_step_size: bounds of step_size, in units of p.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: this is iRprop- of Igel & Hüsken, as in torch; Riedmiller & Braun also
    take back the step after which the sign changed. torch multiplies g and prev; for small
    gradients the product underflows, and a change of sign is missed. optax applies each step one
    update late, and drops it if the sign has changed by then.

    Raises:
      ValueError: eta_minus outside (0, 1), eta_plus not above 1, or a step size negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_rprop(1.0, eta_plus=1.5)
      >>> state, steps = tx.init(0.0), []
      >>> for g in (3.0, 7.0, -2.0, -0.1):
      ...     u, state = tx.update(g, state)
      ...     steps.append(float(u))
      >>> steps
      [1.0, 1.5, 0.0, -0.75]

    Reference: Igel & Hüsken, Improving the Rprop Learning Algorithm, Neural Computation 2000,
    iRprop-. Riedmiller & Braun, A Direct Adaptive Method for Faster Backpropagation Learning:
    The RPROP Algorithm, IEEE International Conference on Neural Networks, 1993.
    """
    del p, learning_rate, state_dtype
    agree = g * jnp.sign(slots.prev)
    turned = agree < 0
    size = ctx.start + slots.step_size
    numbers = (eta_plus, eta_minus, min_step_size, max_step_size)
    plus, minus, low, high = (jax.lax.full_like(g, x) for x in numbers)
    moved = size * jax.lax.select(agree > 0, plus, minus)
    # With a factor of 1 instead of a select, XLA computes the size twice: for the slot, and for u.
    same, moved = (jax.lax.clamp(low, x, high) for x in (size, moved))
    size = jax.lax.select(agree == 0, same, moved)
    g = jax.lax.select(turned, jax.lax.full_like(g, 0), g)
    return size * jnp.sign(g), {"prev": g, "step_size": size}


@composed
def rprop(
    learning_rate: ScalarOrSchedule,
    eta_minus: ScalarOrSchedule = 0.5,
    eta_plus: ScalarOrSchedule = 1.2,
    min_step_size: ScalarOrSchedule = 1e-6,
    max_step_size: ScalarOrSchedule = 50.0,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Rprop: `scale_by_rprop`, then a step in the opposite direction.

        p <- p - u,    u from `scale_by_rprop`

    `learning_rate` `()` is the size of a parameter's first step, in units of p.

    Args:
      See `scale_by_rprop`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.rprop(0.1)
      >>> params = {"w": jnp.array([1.0, 1.0])}
      >>> updates, _ = tx.update({"w": jnp.array([1e-9, -1e9])}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array([0.9, 1.1], dtype=float32)}

    Reference: Igel & Hüsken, Improving the Rprop Learning Algorithm, Neural Computation 2000.
    """
    steps = scale_by_rprop(
        learning_rate, eta_minus, eta_plus, min_step_size, max_step_size, state_dtype=state_dtype
    )
    return chain(steps, scale(-1.0))
