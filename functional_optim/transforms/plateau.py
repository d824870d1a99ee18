"""Lowering the learning rate when a metric has stopped improving."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from ..core.decorators import TreeStats, leaf_rule
from ..core.numerics.array_namespace import namespace
from ..core.protocol import Hyperparameter, PyTree
from ..core.rules.arguments import Fraction, NonNegative, Static, Within
from ..core.rules.context import Slots, StepContext

__all__ = ["Watch", "judge", "reduce_on_plateau"]

Array = jax.Array

MODES = ("min", "max")


class Watch(NamedTuple):
    """The history of a metric.

    Attributes:
      best: the best value so far.
      bad: number of values since then that were not better.
      cooldown: number of values still to be ignored.
    """

    best: Array
    bad: Array
    cooldown: Array


def judge(
    watch: Watch,
    value: Array,
    rtol: Array,
    atol: Array,
    patience: Array,
    cooldown: Array,
    *,
    mode: str,
    relative_to_size: bool = True,
) -> tuple[Watch, Array]:
    """Adds a value of the metric; tells whether more than `patience` in a row were not better.

    Args:
      rtol, atol, patience, cooldown: as in `reduce_on_plateau`, except that patience is one less.
      mode: `"min"` for a metric that should fall, `"max"` for one that should rise.
      relative_to_size: whether rtol is a share of |best|, or of best with its sign, which reverses
        the tolerance where best is negative.
    """
    xp = namespace(value)
    sign = 1.0 if mode == "min" else -1.0
    best, new = sign * watch.best, sign * value
    size = xp.sign(best) if relative_to_size else sign
    bound = xp.where(xp.isinf(best), best, best * (1.0 - rtol * size) - atol)
    better = new < bound
    cools_down = watch.cooldown > 0
    bad = xp.where(better | cools_down, 0.0, watch.bad + 1.0)
    reduce = bad > patience
    remaining = xp.where(reduce, cooldown, xp.maximum(watch.cooldown - 1.0, 0.0))
    return Watch(xp.where(better, value, watch.best), xp.where(reduce, 0.0, bad), remaining), reduce


def _start(mode: str) -> dict[str, float]:
    worst = jnp.inf if mode == "min" else -jnp.inf
    zero = dict.fromkeys(("plateau_count", "cooldown_count", "accumulated", "avg_value"), 0.0)
    return {"scale": 1.0, "best_value": worst, **zero}


def _combine(
    stats: PyTree,
    last: Mapping[str, Array],
    factor: Array,
    patience: Array,
    rtol: Array,
    atol: Array,
    cooldown: Array,
    accumulation_size: Array,
    min_scale: Array,
    mode: str,
) -> Mapping[str, Array]:
    del stats
    value = last["value"].astype(last["avg_value"].dtype)
    n = last["accumulated"] + 1.0
    mean = last["avg_value"] + (value - last["avg_value"]) / n
    before = Watch(last["best_value"], last["plateau_count"], last["cooldown_count"])
    after, reduce = judge(before, mean, rtol, atol, patience - 1.0, cooldown, mode=mode)
    full = n >= accumulation_size
    # A scale that is already below min_scale does not change.
    lower = jnp.maximum(last["scale"] * factor, jnp.minimum(min_scale, last["scale"]))
    # A mean that is not complete yet is not judged.
    watch = Watch(*(jnp.where(full, new, old) for new, old in zip(after, before, strict=True)))
    return {
        "scale": jnp.where(full & reduce, lower, last["scale"]),
        "best_value": watch.best,
        "plateau_count": watch.bad,
        "cooldown_count": watch.cooldown,
        "accumulated": jnp.where(full, 0.0, n),
        "avg_value": jnp.where(full, 0.0, mean),
    }


def _check(arguments: Mapping[str, Hyperparameter]) -> str | None:
    if arguments["mode"] not in MODES:
        return f"mode must be one of 'min', 'max', got {arguments['mode']!r}."
    return None


@leaf_rule(tree_stats=TreeStats(combine=_combine, start=_start), needs=("value",), check=_check)
def reduce_on_plateau(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    factor: Annotated[Hyperparameter, Within("(0, 1)")] = 0.1,
    patience: Annotated[Hyperparameter, Within("[1, inf)")] = 10,
    rtol: Fraction = 1e-4,
    atol: NonNegative = 0.0,
    cooldown: NonNegative = 0,
    accumulation_size: Annotated[Hyperparameter, Within("[1, inf)")] = 1,
    min_scale: Fraction = 0.0,
    *,
    mode: Static[str] = "min",
) -> tuple[Array, dict[str, Array]]:
    """Multiplies updates by a scale that falls when a metric has stopped improving.

    The metric is the extra argument `value` `()` of `update`: a loss. The mean of every
    `accumulation_size` values is better than the best so far if

        mean < best - (rtol |best| + atol)        (mode="max": mean > best + ...)

    After `patience` means in a row that are not better, scale <- max(factor scale, min_scale), and
    the next `cooldown` means do not count. For each leaf of shape `*p`: u = scale g.

    `rtol`, `factor` and `min_scale` have no unit, `atol` is in units of the metric, `patience`
    and `cooldown` are in means, `accumulation_size` in updates; all `()`. A metric that is NaN
    is not better. The state keeps `scalars`: `scale`, `best_value`, `plateau_count`, ...

    Put it last in a chain, or before the learning rate: the order does not matter among linear
    transformations.

    Args:
      factor: factor of the scale after a plateau, in (0, 1).
      patience: number of means in a row without improvement that make a plateau.
      rtol: the least improvement, as a share of |best|; adds to atol.
      atol: the least improvement, in units of the metric; adds to rtol.
      cooldown: number of means after a reduction that do not count.
      accumulation_size: number of values in a mean.
      min_scale: the least scale.
      mode: whether the metric should fall, `"min"`, or rise, `"max"`.

    Differences: optax takes rtol of best, not of |best|, so that a slightly worse value counts as
    better if best is negative; it has no mode; its state is float16 if a parameter is;
    and with patience 0 it waits for an improvement. torch's `patience` is one less.

    Raises:
      ValueError: a number outside its range, an unknown mode, or `update` without `value`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.sgd(1.0), fo.reduce_on_plateau(factor=0.5, patience=2))
      >>> state = tx.init({"w": 0.0})
      >>> for loss in (-3.0, -3.0, -2.0, -2.0):
      ...     updates, state = tx.update({"w": 1.0}, state, value=loss)
      ...     print(updates["w"])
      -1.0
      -1.0
      -0.5
      -0.5
    """
    del slots, p, factor, patience, rtol, atol, cooldown, accumulation_size, min_scale, mode
    return ctx.scale * g, {}
