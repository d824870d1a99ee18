"""Generalized primal averaging, and what it shares with Schedule-Free: a point between two."""

from typing import Annotated

import jax

from ..core.chain import chain
from ..core.decorators import leaf_rule
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import Fraction, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule

__all__ = ["averaging_scalars", "generalized_primal_averaging", "step_between"]

Array = jax.Array


def averaging_scalars(share: Array, new: Array, old: Array) -> dict[str, Array]:
    """Computes the scalars of `step_between`.

    Args:
      share: weight of z in the average x.
      new: share of x in the point y, from this update on.
      old: the same up to this update.
    """
    kept = 1 - share
    return {"towards_z": share + kept * (1 - new / old), "step": 1 - new * kept} | {
        "interpolation": new
    }


def step_between(u: Array, z: Array, y: Array, ctx: StepContext) -> Array:
    """Computes how far y = a x + (1 - a) z moves when z moves by u, and x towards the new z.

    x is not needed: it follows from z and y.
    """
    return ctx.towards_z * (z - y) + ctx.step * u


def _step_scalars(
    train_interp_coeff: Array, eval_interp_coeff: Array, interpolation: Array
) -> dict[str, Array]:
    return averaging_scalars(1 - eval_interp_coeff, train_interp_coeff, interpolation)


@leaf_rule(
    slots=lambda p: {"z": p},
    carry=lambda train_interp_coeff: {"interpolation": train_interp_coeff},
    step_scalars=_step_scalars,
    needs=("params",),
)
def primal_averaging_step(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    train_interp_coeff: Annotated[Hyperparameter, Within("(0, 1]")] = 0.7,
    eval_interp_coeff: Fraction = 0.9967,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes a step from z, averages z into x, and returns the difference to the point between."""
    del train_interp_coeff, eval_interp_coeff, state_dtype
    return step_between(g, slots.z, p, ctx), {"z": slots.z + g}


def generalized_primal_averaging(
    base_optimizer: GradientTransformation,
    train_interp_coeff: ScalarOrSchedule = 0.7,
    eval_interp_coeff: ScalarOrSchedule = 0.9967,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """GPA: averages an optimizer's points, and takes gradients between the average and its last.

    For one parameter of shape `*p`, with the step u of base_optimizer, whose gradient is that at y:

        z <- z + u
        x <- eval_interp_coeff x + (1 - eval_interp_coeff) z
        y  = train_interp_coeff x + (1 - train_interp_coeff) z

    The parameters are y. Evaluate at x, which `eval_params` finds. At the start, z = x = y. The
    state has the links of base_optimizer, and as `primal_averaging_step` z, of shape `*p`, in
    float32 at least, and the last train_interp_coeff; x follows from y and z. Both coefficients
    `()` have no unit. The base optimizer keeps its momentum and its schedule, and weight decay is
    computed at y. `schedule_free` is the same with a weight in x that falls as 1 / t.

    Args:
      state_dtype: dtype of z.

    Differences: the authors' code has AdamW for base optimizer, and their names and defaults are
    kept; its weight decay multiplies z, or y, by 1 - learning_rate weight_decay, where that of a
    base optimizer here moves z by a multiple of y. A train_interp_coeff that changes moves y, and
    leaves x where it is. optax has no GPA.

    Raises:
      TypeError: base_optimizer is not a pair of functions.
      ValueError: train_interp_coeff outside (0, 1], eval_interp_coeff outside [0, 1], or `update`
        is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.generalized_primal_averaging(fo.sgd(1.0), 0.5, 0.75), {"w": 4.0}
      >>> updates, state = tx.update({"w": 2.0}, tx.init(params), params)
      >>> params = fo.apply_updates(params, updates)
      >>> params, fo.eval_params(state, params)
      ({'w': Array(2.75, dtype=float32)}, {'w': Array(3.5, dtype=float32)})

    Reference: Smoothing DiLoCo with primal averaging for faster training of LLMs, 2025,
    arXiv:2512.17131, and the authors' code in `facebookresearch/optimizers`.
    """
    step = primal_averaging_step(train_interp_coeff, eval_interp_coeff, state_dtype=state_dtype)
    return chain(base_optimizer, step)
