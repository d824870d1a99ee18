"""Averages of the parameters, kept in the state of a chain."""

import operator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import MeanWeights, even_weights, fixed_weights, running_mean
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule

__all__ = ["params_ema", "params_swa"]

Array = jax.Array


def _check_every(given: Mapping[str, Any]) -> str | None:
    """An average is taken at whole numbers of updates."""
    try:
        every = 0 if isinstance(given["every"], bool) else operator.index(given["every"])
    except TypeError:
        every = 0
    if every >= 1:
        return None
    return (
        f"every must be an integer of at least 1, got {given['every']!r}. Pass 1 for each update."
    )


def _gain(takes: Array, started: Array, gain: Array | float) -> MeanWeights:
    """Weights where a value is taken; before the first is, the average follows, then it rests."""
    return MeanWeights(0.0, jnp.where(takes, gain, jnp.where(started, 0, 1)))


def _ema_clock(
    t: Array, last: Mapping[str, Array], decay: Array, debias: bool, every: int
) -> tuple[dict[str, Any], dict[str, Array]]:
    takes = t - every * jnp.floor(t / every) == 0
    if not debias:
        return {"weights": _gain(takes, jnp.full(t.shape, True), fixed_weights(decay).gain)}, {}
    # The weights so far, and not 1 - decay^n: decays that change must not scale the parameters.
    total = jnp.where(takes, decay * last["total"] + (1 - decay), last["total"])
    gain = (1 - decay) / jnp.where(total > 0, total, 1)
    return {"weights": _gain(takes, total > 0, gain)}, {"total": total}


@leaf_rule(
    slots=lambda p: {"average": p},
    clock=_ema_clock,
    memory=lambda debias: ("total",) if debias else (),
    requires=("params",),
    static=("debias", "every"),
    slot_dtypes={"accumulator_dtype": "average"},
    bounds={"decay": "[0, 1)"},
    check=_check_every,
)
def params_ema(
    g: Array,
    slots: Any,
    p: Array,
    now: Any,
    decay: Hyperparameter,
    debias: bool = True,
    accumulator_dtype: Any = None,
    *,
    every: int = 1,
) -> tuple[Array, dict[str, Array]]:
    """Keeps an exponential moving average of the parameters; updates pass as they are.

    For one parameter of shape `*p` and its update number t = 1, 2, ..., where `every` divides t:

        m       <- decay m + (1 - decay) (p + g)
        total   <- decay total + (1 - decay)
        average  = m / total

    with m = 0 and total = 0 before the first update, or without debias m = p and total = 1.
    Until the first is taken, a debiased average is the new parameter. Put it last in a chain,
    where p + g is the new parameter, and read it with `eval_params`.

    The state keeps the average, of shape `*p`, in units of p, and with debias total of each
    parameter. `decay` `()` has no unit.

    Args:
      debias: whether all weight is on parameters after an update, or a part on the first ones.
      accumulator_dtype: dtype in which the average is kept.
      every: number of updates from one parameter that is taken to the next.

    Differences: optax has no such link; `ema` averages updates. torch's `AveragedModel` with
    `get_ema_avg_fn` starts at the first parameter that it is shown, whose weight is then
    decay^(t - 1). Narrow parameters are averaged as float32 makes them, before they are rounded.

    Raises:
      ValueError: decay outside [0, 1), every no integer or below 1, or `update` is called
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
    del decay, debias, accumulator_dtype, every
    return g, {"average": running_mean(slots.average, p + g, now.weights)}


def _swa_clock(
    t: Array, last: Mapping[str, Array], start: Array, every: int
) -> tuple[dict[str, Any], dict[str, Array]]:
    past = t - start
    takes = (past > 0) & (past - every * jnp.floor(past / every) == 0)
    taken = last["taken"] + jnp.where(takes, 1, 0)
    gain = even_weights(jnp.maximum(taken, 1)).gain
    return {"weights": _gain(takes, taken > 0, gain)}, {"taken": taken}


@leaf_rule(
    slots=lambda p: {"average": p},
    clock=_swa_clock,
    memory=("taken",),
    requires=("params",),
    static=("every",),
    slot_dtypes={"accumulator_dtype": "average"},
    bounds={"start": "[0, inf)"},
    check=_check_every,
)
def params_swa(
    g: Array,
    slots: Any,
    p: Array,
    now: Any,
    start: Hyperparameter = 0,
    every: int = 1,
    *,
    accumulator_dtype: Any = None,
) -> tuple[Array, dict[str, Array]]:
    """Keeps the mean of the parameters, all counting alike; updates pass as they are.

    For one parameter of shape `*p` and its update number t = 1, 2, ..., where t > start and
    `every` divides t - start:

        n       <- n + 1
        average <- average + (p + g - average) / n

    Until n is 1, the average is the new parameter. Put it last in a chain, where p + g is the
    new parameter, and read it with `eval_params`. Statistics of batches must be computed anew
    for the mean: `optim.swa_utils.update_bn`.

    The state keeps the average, of shape `*p`, in units of p, and n of each parameter. `start`
    `()` is a number of updates.

    Args:
      every: number of updates from one parameter that is taken to the next.
      accumulator_dtype: dtype in which the average is kept.

    Differences: optax has no such link. torch's `AveragedModel` averages when it is called.

    Raises:
      ValueError: start is negative, every no integer or below 1, or `update` is called without
        params.

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
    del start, every, accumulator_dtype
    return g, {"average": running_mean(slots.average, p + g, now.weights)}
