"""Yogi: Adam whose second moment changes by at most a multiple of the squared gradient."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import adam_scalars, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, InitOnly, NonNegative, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["scale_by_yogi", "yogi"]

Array = jax.Array


def _slots(p: Array, initial_accumulator_value: Array) -> dict[str, Array]:
    return {k: jnp.full_like(p, initial_accumulator_value) for k in ("mu", "nu")}


def _step_scalars(t: Array, b1: Array, b2: Array, eps: Array, eps_root: Array) -> dict[str, Array]:
    """Computes the weights of update number t."""
    return adam_scalars(t, b1, b2, eps, eps_root)


@leaf_rule(slots=_slots, step_scalars=_step_scalars)
def scale_by_yogi(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-3,
    eps_root: NonNegative = 0.0,
    initial_accumulator_value: Annotated[float, InitOnly, Within("[0, inf)")] = 1e-6,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by the root of a second moment that changes slowly.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        mu <- b1 mu + (1 - b1) g
        nu <- nu - (1 - b2) sign(nu - g^2) g^2
        u   = mu / (1 - b1^t) / (sqrt(nu / (1 - b2^t) + eps_root) + eps)

    with mu = nu = initial_accumulator_value at the start. The state keeps both, each of shape
    `*p`. `b1`, `b2` `()` have no unit; `eps` `()` is in units of g and `eps_root` in units of
    g^2; u has no unit.

    Args:
      b1, b2: decays of mu and of nu, in [0, 1).
      eps: added to the root, so that u stays bounded; in units of g.
      eps_root: added under the root; in units of g^2.
      initial_accumulator_value: the elements of mu and of nu at the start.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper has no bias correction, and starts nu at the square of a first
    batch's gradient; here both are as in the authors' TensorFlow code and in optax.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or eps_root negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_yogi(b1=0.0, b2=0.0, eps=0.0, initial_accumulator_value=0.0)
      >>> print(tx.update({"w": 4.0}, tx.init({"w": 0.0}))[0]["w"])
      1.0

    Reference: Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018,
    Algorithm 2.
    """
    del p, b2, eps, eps_root, initial_accumulator_value, state_dtype
    squared = jnp.square(g)
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    # Comparisons replace the sign of a difference, which is NaN where both squares overflow.
    change = ctx.nu_gain * squared
    increased = jnp.where(slots.nu < squared, slots.nu + change, slots.nu)
    nu = jnp.where(slots.nu > squared, slots.nu - change, increased)
    root = safe_sqrt(ctx.scaled_eps_root + nu)
    return ctx.mu_weight * (mu / (ctx.scaled_eps + root)), {"mu": mu, "nu": nu}


@composed
def yogi(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-3,
    eps_root: ScalarOrSchedule = 0.0,
    initial_accumulator_value: float = 1e-6,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Yogi: `scale_by_yogi`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p.

    Args:
      See `scale_by_yogi` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.yogi(0.1, b1=0.0, b2=0.0, eps=0.0, initial_accumulator_value=0.0)
      >>> print(tx.update({"w": 4.0}, tx.init({"w": 0.0}))[0]["w"])
      -0.1

    Reference: Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018,
    Algorithm 2.
    """
    direction = scale_by_yogi(
        b1, b2, eps, eps_root, initial_accumulator_value, state_dtype=state_dtype
    )
    return chain(direction, scale_by_learning_rate(learning_rate))
