"""Multiplying updates by a number."""

import jax

from ..core.decorators import leaf_rule
from ..core.protocol import GradientTransformation, Hyperparameter, Schedule
from ..core.rules.arguments import NonNegative, Static
from ..core.rules.context import Slots, StepContext

__all__ = ["scale", "scale_by_learning_rate", "scale_by_schedule"]

Array = jax.Array


@leaf_rule(row_sparse=True)
def scale(
    g: Array, slots: Slots, p: None, ctx: StepContext, step_size: Hyperparameter
) -> tuple[Array, dict[str, Array]]:
    """Multiplies updates by `step_size`.

    For one leaf of shape `*p`: u = step_size g. `step_size` `()` has the unit of u per unit
    of g, and any sign.

    Args:
      step_size: the factor, of any sign; in units of u per unit of g.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale(-0.5)
      >>> tx.update({"w": 4.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(-2., dtype=float32)}
    """
    del slots, p, ctx
    return step_size * g, {}


def _step_size(learning_rate: Array, flip_sign: bool) -> dict[str, Array]:
    return {"step_size": -learning_rate if flip_sign else learning_rate}


@leaf_rule(step_scalars=_step_size, row_sparse=True)
def scale_by_learning_rate(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    learning_rate: NonNegative,
    *,
    flip_sign: Static[bool] = True,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies a direction by minus the learning rate: the last link of an optimizer.

    For one leaf of shape `*p`: u = -learning_rate g, or +learning_rate g without
    `flip_sign`. `learning_rate` `()` has the unit of p per unit of direction; given as a
    schedule it is a function of this link's count of updates, from 0.

    Args:
      learning_rate: a number, an array, or a schedule, which is called with the count of updates;
        in units of p per unit of the direction.
      flip_sign: whether to multiply by -1 as well; False for a direction that is to be added.

    Raises:
      ValueError: learning_rate < 0 or NaN.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_learning_rate(fo.linear_schedule(1.0, 0.0, 4))
      >>> state = tx.init({"w": 0.0})
      >>> for _ in range(3):
      ...     updates, state = tx.update({"w": 2.0}, state)
      >>> updates, float(fo.get_hyperparams(state)["learning_rate"])
      ({'w': Array(-1., dtype=float32)}, 0.5)
    """
    del slots, p, learning_rate, flip_sign
    return ctx.step_size * g, {}


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Multiplies updates by a schedule of the number of updates made: `scale(step_size_fn)`.

    Args:
      step_size_fn: returns the factor for a count of updates, from 0.

    Raises:
      TypeError: step_size_fn is not callable.
    """
    if not callable(step_size_fn):
        raise TypeError(
            f"scale_by_schedule: step_size_fn must be a function of the step, got "
            f"{step_size_fn!r}. For a constant, use scale."
        )
    return scale(step_size_fn)
