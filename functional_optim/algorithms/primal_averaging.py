"""Generalized primal averaging, and the interpolation that it shares with Schedule-Free."""

from typing import Annotated

import jax

from ..core.adapter import check_pair
from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import Fraction, Optional_, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule

__all__ = ["averaging_scalars", "generalized_primal_averaging", "step_between"]

Array = jax.Array


def averaging_scalars(share: Array, new: Array, old: Array) -> dict[str, Array]:
    """Computes the scalars of `step_between`.

    Args:
      share: weight of z in the average x.
      new: share of x in the point y, from this update on.
      old: share of x in the point y, up to this update.
    """
    # From y' = new x' + (1 - new) z', where z' = z + u, x' = keep x + share z', and x is
    # (y - (1 - old) z) / old.
    keep = 1 - share
    return {
        "towards_z": share + keep * (1 - new / old),
        "step": 1 - new * keep,
        "interpolation": new,
    }


def step_between(u: Array, z: Array, y: Array, ctx: StepContext) -> Array:
    """Computes the change of y = a x + (1 - a) z when z moves by u, and x towards the new z.

    x is not an argument, because it follows from z and y.
    """
    return ctx.towards_z * (z - y) + ctx.step * u


def _step_scalars(
    train_interp_coeff: Array,
    eval_interp_coeff: Array,
    shrinkage: Array | None,
    interpolation: Array,
) -> dict[str, Array]:
    remaining = {} if shrinkage is None else {"remaining": 1 - shrinkage}
    scalars = averaging_scalars(1 - eval_interp_coeff, train_interp_coeff, interpolation)
    return scalars | remaining


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
    shrinkage: Annotated[Hyperparameter | None, Within("[0, 1]"), Optional_] = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes a step from z, averages z into x, and returns the change of y, between x and z."""
    del train_interp_coeff, eval_interp_coeff, state_dtype
    z = slots.z if shrinkage is None else ctx.remaining * slots.z
    return step_between(g, z, p, ctx), {"z": z + g}


@composed
def generalized_primal_averaging(
    base_optimizer: GradientTransformation,
    train_interp_coeff: ScalarOrSchedule = 0.7,
    eval_interp_coeff: ScalarOrSchedule = 0.9967,
    *,
    shrinkage: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """GPA: averages an optimizer's points z, with gradients between the average and the last z.

    For one parameter of shape `*p`, with the step u of base_optimizer for the gradient at y:

        z <- z + u
        x <- eval_interp_coeff x + (1 - eval_interp_coeff) z
        y  = train_interp_coeff x + (1 - train_interp_coeff) z

    The parameters are y. Evaluate at x, which `eval_params` returns. At the start, z = x = y. The
    state has the links of base_optimizer, and under `primal_averaging_step` z, of shape `*p`, in
    float32 at least, and the last train_interp_coeff; x follows from y and z. Both coefficients
    `()` have no unit. The base optimizer needs momentum and a schedule as without averaging; its
    weight decay is computed at y. `schedule_free` is the same with a weight of z in x that
    decreases as 1 / t.

    Args:
      base_optimizer: the optimizer whose steps move z.
      train_interp_coeff: weight of x in y, in (0, 1].
      eval_interp_coeff: decay of x, in [0, 1].
      shrinkage: share `()` of z that is lost before each step, which is the authors' weight decay:
        learning_rate weight_decay in their code. It does not change y, and therefore moves x.
      state_dtype: dtype of z.

    Differences: the names and defaults are as in the authors' code, whose base optimizer is
    AdamW. Its weight decay multiplies z by 1 - learning_rate weight_decay and does not change y;
    this is `shrinkage` here. The weight decay of a base optimizer moves z by a multiple of y, and y
    with it. Their `use_wd_on_y` multiplies only y. For the same here, chain with this
    transformation `scale(-1.0)`, `add_decayed_weights(learning_rate weight_decay
    eval_interp_coeff)` and `scale(-1.0)`. A change of train_interp_coeff changes y, and not x.
    optax has no GPA.

    Raises:
      TypeError: base_optimizer is not a pair of functions.
      ValueError: train_interp_coeff outside (0, 1], eval_interp_coeff or shrinkage outside [0, 1],
        or `update` is called without params.

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
    step = primal_averaging_step(
        train_interp_coeff, eval_interp_coeff, shrinkage=shrinkage, state_dtype=state_dtype
    )
    check_pair("generalized_primal_averaging: base_optimizer", base_optimizer)
    return chain(base_optimizer, step)
