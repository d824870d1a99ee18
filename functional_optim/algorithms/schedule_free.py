"""Schedule-Free: averaging and interpolation replace momentum and the decay of a schedule."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.adapter import check_pair
from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule, renamed
from ..core.numerics.moments import bias_correction, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import (
    Decay,
    NonNegative,
    Optional_,
    StateDtype,
    Static,
    Within,
)
from ..core.rules.context import Slots, StepContext
from ..core.state import nested_states
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.evaluation import eval_params, is_interpolated
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam
from .primal_averaging import averaging_scalars, step_between
from .radam import rectification
from .rmsprop import scale_by_rms

__all__ = [
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_radam",
    "schedule_free_sgd",
]

Array = jax.Array

_scale_by_rms = renamed(scale_by_rms, decay="b2")
_scale_by_adam = renamed(scale_by_adam, b1="inner_momentum")


def _step_scalars(
    t: Array,
    learning_rate: Array,
    b1: Array,
    weight_lr_power: Array,
    r: Array,
    warmup_steps: Array | None,
    b2: Array | None,
    takes_steps: bool,
    warmup_from_zero: bool,
    silent_sgd_phase: bool,
    weight_sum: Array,
    max_lr: Array,
    interpolation: Array,
) -> dict[str, Array]:
    """Computes the learning rate of update number t, and its weight in the average."""
    rate = averaging_rate = learning_rate
    if warmup_steps is not None:
        length = jnp.maximum(warmup_steps, 1.0)
        averaging_rate = rate = learning_rate * jnp.minimum(t / length, 1.0)
        if warmup_from_zero:
            rate = learning_rate * jnp.minimum((t - 1) / length, 1.0)
    if b2 is not None:
        factor = rectification(t, b2, jnp.full_like(b2, 4.0))
        if not silent_sgd_phase:
            factor = jnp.where(factor > 0, factor, 1.0)
        rate = averaging_rate = learning_rate * factor
    # The weight does not decrease with the learning rate, so that late points of a decaying
    # schedule count as much as early ones.
    max_lr = jnp.maximum(max_lr, averaging_rate)
    weight = t**r * max_lr**weight_lr_power
    weight_sum = weight_sum + weight
    is_positive = weight_sum > 0
    share = jnp.where(is_positive, weight / jnp.where(is_positive, weight_sum, 1.0), 0.0)
    scalars = averaging_scalars(share, b1, interpolation)
    if not takes_steps:
        # The learning rate is part of the scalars, which saves an operation for each element.
        scalars |= {"minus_rate": -rate, "step": -rate * scalars["step"]}
    return scalars | {"weight_sum": weight_sum, "max_lr": max_lr}


@leaf_rule(
    slots=lambda p: {"z": p},
    carry=lambda b1: {"weight_sum": 0.0, "max_lr": 0.0, "interpolation": b1},
    step_scalars=_step_scalars,
    needs=("params",),
)
def schedule_free_step(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative,
    b1: Annotated[Hyperparameter, Within("(0, 1]")] = 0.9,
    weight_lr_power: NonNegative = 2.0,
    *,
    r: NonNegative = 0.0,
    warmup_steps: Annotated[Hyperparameter | None, Within("[0, inf)"), Optional_] = None,
    b2: Annotated[Hyperparameter | None, Within("[0, 1)"), Optional_] = None,
    takes_steps: Static[bool] = True,
    warmup_from_zero: Static[bool] = False,
    silent_sgd_phase: Static[bool] = True,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes a step from z, averages z into x, and returns the change of y, between x and z."""
    del learning_rate, b1, weight_lr_power, r, warmup_steps, b2, warmup_from_zero
    del silent_sgd_phase, state_dtype
    u = step_between(g, slots.z, p, ctx)
    return u, {"z": slots.z + (g if takes_steps else ctx.minus_rate * g)}


def _rms_scalars(t: Array, b2: Array) -> dict[str, Array]:
    """Computes the bias correction, and whether the denominator is not 1, as in RAdam."""
    is_rectified = rectification(t, b2, jnp.full_like(b2, 4.0)) > 0
    return {
        "gain": 1 - b2,
        "correction": bias_correction(b2, t),
        "is_rectified": jnp.where(is_rectified, 1.0, 0.0),
    }


@leaf_rule(slots=lambda p: {"nu": jnp.zeros_like(p)}, step_scalars=_rms_scalars)
def scale_by_known_rms(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides updates by their root mean square, from the first update at which RAdam does so."""
    del p, state_dtype
    nu = moment(slots.nu, jnp.square(g), b2, ctx.gain)
    divisor = jnp.where(ctx.is_rectified > 0, eps + safe_sqrt(ctx.correction * nu), 1)
    return g / divisor, {"nu": nu}


@composed
def schedule_free(
    base_optimizer: GradientTransformation,
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    weight_lr_power: ScalarOrSchedule = 2.0,
    state_dtype: StateDtype = None,
    *,
    r: ScalarOrSchedule = 0.0,
) -> GradientTransformation:
    """Makes an optimizer schedule-free: averaging replaces the decay of the learning rate.

    For one parameter of shape `*p` and its update number t = 1, 2, ..., with the step u of
    base_optimizer for the gradient at y:

        max_lr      <- max(max_lr, learning_rate)
        w            = t^r max_lr^weight_lr_power
        weight_sum  <- weight_sum + w,              c = w / weight_sum, or 0 if weight_sum is 0
        z           <- z + u
        x           <- (1 - c) x + c z
        y            = b1 x + (1 - b1) z

    The parameters are y. Evaluate at x, which `eval_params` or `schedule_free_eval_params` return,
    after computing the statistics of batch normalization again at x. Save parameters and state as
    usual. At the start, z = x = y. The state has the links of base_optimizer, and under
    `schedule_free_step` z, of shape `*p`, in float32 at least; x = y + (1 - b1)(y - z) / b1 is not
    stored. It also has `weight_sum`, `max_lr` and the last b1, `()` in float32 whatever the dtype
    of the parameters. `b1`, `r` and `weight_lr_power` `()` have no unit.

    The base optimizer needs no momentum, because b1 replaces it: b1 = 1 is primal averaging, and
    for b1 towards 0 the result tends to Polyak's average.

    Args:
      base_optimizer: an optimizer without momentum, whose steps move z.
      learning_rate: the learning rate of base_optimizer, a number or schedule; it is only used for
        the weights.
      b1: weight of x in y, in (0, 1].
      weight_lr_power: power of max_lr in the weights.
      state_dtype: dtype of z.
      r: power of t in the weights; 0 for weights that do not grow with t.

    Differences: optax keeps weight_sum and max_lr in the dtype of the parameters, and in bfloat16
    the sum stops growing after some hundred updates. optax evaluates the schedule for the weights
    one update ahead of base_optimizer, and here both are at the same update: pass
    `lambda count: schedule(count + 1)` for the results of optax. A change of b1 changes y, and not
    x. The authors' wrapper passes z to the optimizer; here and in optax it is y, so that weight
    decay is computed at y, as in their AdamW and SGD. optax has no `r`.

    Raises:
      TypeError: base_optimizer is not a pair of functions.
      ValueError: b1 outside (0, 1]; learning_rate, weight_lr_power or r negative; or `update` is
        called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.schedule_free(fo.sgd(0.5), 0.5, b1=0.5), {"w": 4.0}
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 2.0}, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> params, fo.eval_params(state, params)
      ({'w': Array(2.25, dtype=float32)}, {'w': Array(2.5, dtype=float32)})

    Reference: Defazio, Yang, Khaled, Mishchenko, Mehta & Cutkosky, The road less scheduled, NeurIPS
    2024, equations 3 to 5 and 9, arXiv:2405.15682.
    """
    step = schedule_free_step(learning_rate, b1, weight_lr_power, r=r, state_dtype=state_dtype)
    check_pair("schedule_free: base_optimizer", base_optimizer)
    return chain(base_optimizer, step)


@composed
def schedule_free_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    warmup_steps: ScalarOrSchedule | None = None,
    b1: ScalarOrSchedule = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    weight_lr_power: ScalarOrSchedule = 2.0,
    state_dtype: StateDtype = None,
    *,
    r: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    warmup_from_zero: bool = False,
) -> GradientTransformation:
    """Schedule-Free SGD: gradients, with weight decay, and steps as in `schedule_free`.

        rate = learning_rate min(1, t / warmup_steps)
        u    = -rate (g + weight_decay y)

    The averaging weights are computed from `rate`. `learning_rate` `()` is in units of y per unit
    of g.

    Args:
      learning_rate: the rate after the warmup, a number or a schedule.
      warmup_steps: number of updates in which the rate grows to learning_rate; None for no warmup.
      weight_decay: factor of an L2 penalty at y, in units of g per unit of y; None for no penalty.
      state_dtype: dtype of z.
      mask: which parameters decay; see `masked`.
      warmup_from_zero: whether the first update has rate 0, as in optax: then rate is
        learning_rate min(1, (t - 1) / warmup_steps), and the weights are as above.
      See `schedule_free` for the others.

    Differences: without warmup_from_zero, the warmup is as in the authors' code; see also
    `schedule_free`.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.schedule_free_sgd(0.25), {"w": 4.0}
      >>> updates, state = tx.update({"w": 8.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(2., dtype=float32)}

    Reference: Defazio et al., The road less scheduled, NeurIPS 2024, equations 3 to 5,
    arXiv:2405.15682.
    """
    return chain(
        *([] if weight_decay is None else [add_decayed_weights(weight_decay, mask)]),
        schedule_free_step(
            learning_rate,
            b1,
            weight_lr_power,
            r=r,
            warmup_steps=warmup_steps,
            takes_steps=False,
            warmup_from_zero=warmup_from_zero,
            state_dtype=state_dtype,
        ),
    )


@composed
def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    warmup_steps: ScalarOrSchedule | None = None,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_lr_power: ScalarOrSchedule = 2.0,
    state_dtype: StateDtype = None,
    *,
    r: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    inner_momentum: ScalarOrSchedule | None = None,
    warmup_from_zero: bool = False,
) -> GradientTransformation:
    """Schedule-Free AdamW: normalized gradients, and steps as in `schedule_free`.

        nu  <- b2 nu + (1 - b2) g^2
        u    = -rate (g / (sqrt(nu / (1 - b2^t)) + eps) + weight_decay y)

    with the rate of `schedule_free_sgd`, in units of y. The state has nu in `scale_by_rms`, or in
    `scale_by_adam` with inner_momentum.

    Args:
      b2: decay of nu, in [0, 1).
      eps: added to the root; in units of g.
      weight_decay: factor of the decay at y, in units of 1 / y; multiplied by the rate.
      state_dtype: dtype of z.
      inner_momentum: decay of a bias-corrected running mean that replaces g in u; None for no
        mean.
      See `schedule_free_sgd` and `schedule_free` for the others.

    Differences: in the paper and the authors' reference the rate, and so the weights, have a factor
    sqrt(1 - b2^t); here they do not, as in the authors' package and in optax. optax has no
    inner_momentum, mask or r. For the other differences see `schedule_free_sgd`.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.schedule_free_adamw(0.5), {"w": 4.0}
      >>> updates, state = tx.update({"w": 8.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(3.5, dtype=float32)}

    Reference: Defazio et al., The road less scheduled, NeurIPS 2024, Algorithm 1,
    arXiv:2405.15682.
    """
    if inner_momentum is None:
        direction = _scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True)
    else:
        direction = _scale_by_adam(inner_momentum, b2, eps)
    return chain(
        direction,
        add_decayed_weights(weight_decay, mask),
        schedule_free_step(
            learning_rate,
            b1,
            weight_lr_power,
            r=r,
            warmup_steps=warmup_steps,
            takes_steps=False,
            warmup_from_zero=warmup_from_zero,
            state_dtype=state_dtype,
        ),
    )


@composed
def schedule_free_radam(
    learning_rate: ScalarOrSchedule = 0.0025,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_lr_power: ScalarOrSchedule = 2.0,
    *,
    r: ScalarOrSchedule = 0.0,
    silent_sgd_phase: bool = True,
    mask: MaskOrFn = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Schedule-Free RAdam: the warmup is the rectification of RAdam, without a length to choose.

    With rho as in `scale_by_radam`, and f its r for threshold 4:

        rate = learning_rate f where rho > 4, else 0
        u    = -rate (g / (sqrt(nu / (1 - b2^t)) + eps) + weight_decay y)

    and steps as in `schedule_free`, with averaging weights computed from `rate`.

    Args:
      learning_rate: the rate where f is 1, a number or a schedule.
      silent_sgd_phase: whether parameters do not change while rho <= 4; otherwise, while rho <= 4,
        the rate is learning_rate, and u = -rate (g + weight_decay y).
      mask: which parameters decay; see `masked`.
      state_dtype: dtype of z.
      See `schedule_free_adamw` and `schedule_free` for the others.

    Differences: none from the authors' code without its experimental options. The paper and optax
    do not have this optimizer.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.schedule_free_radam(1.0, silent_sgd_phase=False), {"w": 4.0}
      >>> updates, state = tx.update({"w": 2.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(2., dtype=float32)}

    Reference: Defazio et al., The road less scheduled, NeurIPS 2024, arXiv:2405.15682, and its
    package `schedulefree`; Liu et al., On the Variance of the Adaptive Learning Rate and Beyond,
    ICLR 2020, Algorithm 2, arXiv:1908.03265.
    """
    return chain(
        scale_by_known_rms(b2, eps),
        add_decayed_weights(weight_decay, mask),
        schedule_free_step(
            learning_rate,
            b1,
            weight_lr_power,
            r=r,
            b2=b2,
            takes_steps=False,
            silent_sgd_phase=silent_sgd_phase,
            state_dtype=state_dtype,
        ),
    )


def schedule_free_eval_params(state: PyTree, params: PyTree) -> PyTree:
    """Returns the averaged point of a schedule-free optimizer; `eval_params` with a check.

    Raises:
      ValueError: the state does not contain a state of `schedule_free`.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.schedule_free_sgd(1.0), {"w": 4.0}
      >>> updates, state = tx.update({"w": 1.0}, tx.init(params), params)
      >>> fo.schedule_free_eval_params(state, fo.apply_updates(params, updates))
      {'w': Array(3., dtype=float32)}

    Reference: Defazio et al., The road less scheduled, NeurIPS 2024, equation 5, arXiv:2405.15682.
    """
    if not any(is_interpolated(node) for _, node in nested_states(state)):
        raise ValueError(
            "schedule_free_eval_params: the state does not contain a state of schedule_free. Pass "
            "the state of the optimizer that trains, or use eval_params."
        )
    return eval_params(state, params)
