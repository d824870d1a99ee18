"""Adafactor: a factored second moment, and steps relative to the size of the parameters."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule, renamed
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import NonNegative, Optional_, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.blocks import clip_by_block_rms, scale_by_param_block_rms
from ..transforms.masking import maskable
from ..transforms.momentum import ema
from ..transforms.scaling import scale, scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .factored_rms import Dims, scale_by_factored_rms

__all__ = ["adafactor", "scale_by_relative_step"]

Array = jax.Array


def _step_scalars(
    t: Array, max_step: Array, warmup_step: Array | None, weight_decay: Array
) -> dict[str, Array]:
    """Computes the step size of update number t, and the weight of the parameter."""
    step = jnp.minimum(max_step, jax.lax.rsqrt(t))
    if warmup_step is not None:
        step = jnp.minimum(step, warmup_step * t)
    return {"step": step, "decay": max_step * weight_decay}


@leaf_rule(step_scalars=_step_scalars, needs=("params",))
def scale_by_relative_step(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    max_step: NonNegative = 1e-2,
    warmup_step: Annotated[Hyperparameter | None, Within("[0, inf)"), Optional_] = None,
    *,
    weight_decay: NonNegative = 0.0,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies updates by the step size of Adafactor, which falls as 1 / sqrt(t).

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        u = min(max_step, warmup_step t, 1 / sqrt(t)) g + max_step weight_decay p

    `max_step` and `warmup_step` `()` are in units of u per unit of g; if `warmup_step` is None
    there is no warmup. `weight_decay` `()` is as in torch: it does not decrease with
    1 / sqrt(t).

    Args:
      max_step: the largest step, in units of u per unit of g.
      warmup_step: growth of the step from one update to the next; None for no warmup.
      weight_decay: multiple of max_step p that is added to u; in units of g per unit of p.

    Raises:
      ValueError: an argument is negative, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_relative_step(1.0)
      >>> params = {"w": 0.0}
      >>> state = tx.init(params)
      >>> for _ in range(4):
      ...     updates, state = tx.update({"w": 1.0}, state, params)
      >>> updates
      {'w': Array(0.5, dtype=float32)}

    Reference: Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost,
    ICML 2018, section 8 and Algorithm 6, arXiv:1804.04235.
    """
    del slots, max_step, warmup_step, weight_decay
    return ctx.step * g + ctx.decay * p, {}


# Renamed, so that errors name the arguments of adafactor.
_direction = renamed(scale_by_factored_rms, step_offset="decay_offset", epsilon="eps")
_clip = renamed(clip_by_block_rms, threshold="clipping_threshold")
_momentum = renamed(ema, decay="momentum", accumulator_dtype="dtype_momentum")
_decay = maskable(renamed(add_decayed_weights, weight_decay="weight_decay_rate"))


@composed
def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: ScalarOrSchedule = 0.8,
    decay_offset: ScalarOrSchedule = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: ScalarOrSchedule | None = 1.0,
    momentum: ScalarOrSchedule | None = None,
    dtype_momentum: DTypeLike | None = None,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: ScalarOrSchedule | None = 1e-30,
    factored: bool = True,
    weight_decay_mask: MaskOrFn = None,
    decay_rate_fn: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    *,
    dims: Dims = "largest",
    eps_as_floor: bool = False,
    state_dtype: StateDtype = None,
    warmup_step: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """Adafactor: `scale_by_factored_rms`, clipping, and steps relative to the parameters.

    For one parameter of shape `*p`:

        d <- clip_by_block_rms(u),                    u from `scale_by_factored_rms`
        s <- max(1e-3, rms(p)) learning_rate d        first factor: if multiply_by_parameter_scale
        b <- momentum b + (1 - momentum) s            if momentum is not None, else s
        p <- p - b - weight_decay_rate p

    If `learning_rate` is None, the authors' relative step replaces it: at the parameter's update
    number t = 1, 2, ... it is min(1e-2, 1 / sqrt(t)), or with warmup_step min(1e-2, warmup_step t,
    1 / sqrt(t)). The authors' warmup_step is 1e-6. `learning_rate` `()` has no unit, because s is
    in units of p; without multiply_by_parameter_scale it is in units of p. `weight_decay_rate` is
    not multiplied by the learning rate.

    Args:
      learning_rate: factor of the direction, a number or a schedule; None for the relative step.
      decay_offset: `step_offset` of `scale_by_factored_rms`.
      multiply_by_parameter_scale: whether to multiply by max(1e-3, rms(p)).
      clipping_threshold: the largest root mean square of d, see `clip_by_block_rms`; None for no
        limit.
      momentum: decay of a mean of the steps; None for no mean.
      dtype_momentum: dtype of that mean.
      weight_decay_rate: share of p that each update subtracts; None for no decay.
      eps: `epsilon` of `scale_by_factored_rms`.
      weight_decay_mask: parameters that decay: a tree of booleans, or a function that returns one;
        None for all.
      warmup_step: growth of the relative step from one update to the next, for learning_rate None;
        None for no warmup.
      See `scale_by_factored_rms` for the others.

    Differences: with `learning_rate=None` optax multiplies by the parameter's scale only, so that
    a step is as large as the parameter; here and in the authors' code (and in T5) it is the
    relative step. Otherwise the results are as in optax; the authors factor with
    `dims="last", min_dim_size_to_factor=1`. fairseq multiplies the decay by the step, and,
    without a relative step, multiplies the learning rate by the scale again at each step.

    Raises:
      ValueError: an argument is out of its range; warmup_step with a learning_rate, or
        dtype_momentum without momentum.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adafactor(min_dim_size_to_factor=2)
      >>> params = {"w": jnp.ones((2, 2))}
      >>> updates, _ = tx.update({"w": jnp.full((2, 2), 5.0)}, tx.init(params), params)
      >>> [round(float(u), 6) for u in updates["w"].ravel()]
      [-0.01, -0.01, -0.01, -0.01]

    Reference: Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost,
    ICML 2018, Algorithms 4 to 6, arXiv:1804.04235.
    """
    if warmup_step is not None and learning_rate is not None:
        raise ValueError(
            f"adafactor: warmup_step={warmup_step!r} needs learning_rate=None, got "
            f"{learning_rate!r}. Pass a schedule that warms up as learning_rate."
        )
    if dtype_momentum is not None and momentum is None:
        raise ValueError(
            f"adafactor: dtype_momentum={dtype_momentum!r} needs momentum, got None. "
            "Pass a decay, such as 0.9."
        )
    links = [
        _direction(
            factored,
            decay_rate,
            decay_offset,
            min_dim_size_to_factor,
            eps,
            decay_rate_fn,
            dims=dims,
            eps_as_floor=eps_as_floor,
            state_dtype=state_dtype,
        )
    ]
    if clipping_threshold is not None:
        links.append(_clip(clipping_threshold))
    if learning_rate is None:
        links.append(scale_by_relative_step(warmup_step=warmup_step))
    else:
        links.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        links.append(scale_by_param_block_rms())
    if momentum is not None:
        links.append(_momentum(momentum, debias=False, dtype_momentum=dtype_momentum))
    if weight_decay_rate is not None:
        links.append(_decay(weight_decay_rate, mask=weight_decay_mask))
    return chain(*links, scale(-1.0))
