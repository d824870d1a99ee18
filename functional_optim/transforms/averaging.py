"""Averages of the parameters, kept in the state of a chain."""

import operator
from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.decorators import leaf_rule
from ..core.numerics.moments import nearer_end, step_towards
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import Decay, NonNegative, SlotDtype, StateDtype, Static
from ..core.rules.context import Slots, StepContext

__all__ = ["params_ema", "params_swa"]

Array = jax.Array


def _check_every(arguments: Mapping[str, Hyperparameter]) -> str | None:
    """Checks that `every` is a whole number of updates."""
    try:
        every = 0 if isinstance(arguments["every"], bool) else operator.index(arguments["every"])
    except TypeError:
        every = 0
    if every >= 1:
        return None
    value = arguments["every"]
    return f"every must be an integer of at least 1, got {value!r}. Pass 1 for each update."


def _divides(every: int, t: Array) -> Array:
    return t - every * jnp.floor(t / every) == 0


def _scalars_of(weight: Array) -> dict[str, Array]:
    """Computes the scalars of `step_towards` for the weight of the new parameters."""
    near, step = nearer_end(weight)
    return {"near": near, "step": step}


def _ema_scalars(
    t: Array, decay: Array, debias: bool, every: int, total: Array | None = None
) -> dict[str, Array]:
    """Computes the weight of the new parameters in the average."""
    takes = _divides(every, t)
    if total is None:  # not debias
        return _scalars_of(jnp.where(takes, 1 - decay, 0.0))
    # The sum of the weights, and not 1 - decay^n: a decay that changes must not scale the average.
    total = jnp.where(takes, decay * total + (1 - decay), total)
    has_points = total > 0
    gain = (1 - decay) / jnp.where(has_points, total, 1.0)
    # Until the first parameters are taken, the average follows them.
    weight = jnp.where(takes, gain, jnp.where(has_points, 0.0, 1.0))
    return _scalars_of(weight) | {"total": total}


@leaf_rule(
    slots=lambda p: {"average": p},
    carry=lambda debias: {"total": 0.0} if debias else {},
    step_scalars=_ema_scalars,
    needs=("params",),
    check=_check_every,
)
def params_ema(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    decay: Decay,
    debias: Static[bool] = True,
    accumulator_dtype: Annotated[DTypeLike | None, SlotDtype("average")] = None,
    *,
    every: Static[int] = 1,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Keeps an exponential moving average of the parameters; updates pass unchanged.

    For one parameter of shape `*p` and its update number t = 1, 2, ..., where `every` divides t:

        m       <- decay m + (1 - decay) (p + g)
        total   <- decay total + (1 - decay)
        average  = m / total

    with m = 0 and total = 0 before the first update, or without debias m = p and total = 1.
    Before update number `every`, a debiased average is the new parameter. Put this last in a chain,
    where p + g is the new parameter, and read the average with `eval_params`.

    The state keeps the average, of shape `*p`, in units of p, and with debias `total` `()`. `decay`
    `()` has no unit.

    Args:
      decay: decay of m, in [0, 1); 0.99 to 0.9999 are common.
      debias: whether the average leaves out the initial parameters.
      accumulator_dtype: dtype in which the average is kept.
      every: number of updates from one that enters the average to the next.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax has no such transformation; its `ema` averages updates. torch's
    `AveragedModel` with `get_ema_avg_fn` starts as the first parameter that it averages, which then
    has the weight decay^(t - 1). Narrow parameters are averaged in float32, before they are
    rounded.

    Raises:
      ValueError: decay outside [0, 1), every is not an integer of at least 1, or `update` is called
        without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.sgd(1.0), fo.params_ema(0.5, debias=False))
      >>> params = {"w": 4.0}
      >>> updates, state = tx.update({"w": 2.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates), fo.eval_params(state, params)
      ({'w': Array(2., dtype=float32)}, {'w': Array(3., dtype=float32)})

    Reference: Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM
    Journal on Control and Optimization 30, 1992; the weights are those of Kingma & Ba, Adam,
    ICLR 2015, section 3, arXiv:1412.6980.
    """
    del decay, debias, accumulator_dtype, every, state_dtype
    return g, {"average": step_towards(slots.average, p + g, ctx.near, ctx.step)}


def _swa_scalars(t: Array, start: Array, every: int, taken: Array) -> dict[str, Array]:
    """Computes the weight of the new parameters in the mean."""
    takes = (t > start) & _divides(every, t - start)
    taken = taken + jnp.where(takes, 1.0, 0.0)
    gain = 1 / jnp.maximum(taken, 1.0)
    # Until the first parameters are taken, the mean follows them.
    weight = jnp.where(takes, gain, jnp.where(taken > 0, 0.0, 1.0))
    return _scalars_of(weight) | {"taken": taken}


@leaf_rule(
    slots=lambda p: {"average": p},
    carry=lambda: {"taken": 0.0},
    step_scalars=_swa_scalars,
    needs=("params",),
    check=_check_every,
)
def params_swa(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    start: NonNegative = 0,
    every: Static[int] = 1,
    *,
    accumulator_dtype: Annotated[DTypeLike | None, SlotDtype("average")] = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Keeps the mean of the parameters, all with the same weight; updates pass unchanged.

    For one parameter of shape `*p` and its update number t = 1, 2, ..., where t > start and
    `every` divides t - start:

        n       <- n + 1
        average <- average + (p + g - average) / n

    Until n is 1, the average is the new parameter. Put this last in a chain, where p + g is the
    new parameter, and read the average with `eval_params`. Compute the statistics of batch
    normalization again for the mean: `optim.swa_utils.update_bn`.

    The state keeps the average, of shape `*p`, in units of p, and n as `taken` `()`. `start`
    `()` is a number of updates.

    Args:
      start: number of updates whose parameters do not enter the mean.
      every: number of updates from one that enters the mean to the next.
      accumulator_dtype: dtype in which the average is kept.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax has no such transformation. torch's `AveragedModel` averages when called.

    Raises:
      ValueError: start is negative, every is not an integer of at least 1, or `update` is called
        without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.chain(fo.sgd(1.0), fo.params_swa(start=1)), {"w": 4.0}
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     updates, state = tx.update({"w": 1.0}, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> params, fo.eval_params(state, params)
      ({'w': Array(1., dtype=float32)}, {'w': Array(1.5, dtype=float32)})

    Reference: Izmailov, Podoprikhin, Garipov, Vetrov & Wilson, Averaging weights leads to wider
    optima and better generalization, UAI 2018, Algorithm 1, arXiv:1803.05407.
    """
    del start, every, accumulator_dtype, state_dtype
    return g, {"average": step_towards(slots.average, p + g, ctx.near, ctx.step)}
