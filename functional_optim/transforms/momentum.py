"""Momentum: sums and means of past updates."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.bound import is_traced
from ..core.moments import mean_weights, running_mean
from ..core.precision import one_minus_power
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule

__all__ = ["ema", "trace"]

Array = jax.Array


def _check_trace(given: Mapping[str, Any]) -> str | None:
    """Options of a trace say nothing where there is none."""
    defaults = {"nesterov": False, "accumulator_dtype": None, "dampening": 0.0}
    for name, default in defaults.items():
        value = given[name]
        # A traced number may be the default: wrappers hand on all arguments of a factory.
        if given["decay"] is None and not is_traced(value) and value != default:
            return f"{name}={value!r} needs momentum, got None. Pass a decay, such as 0.9."
    return None


def _trace_clock(
    t: Array, last: Mapping[str, Array], decay: Array, **_: Any
) -> tuple[dict[str, Any], dict[str, Array]]:
    first = last["started"] == 0
    return {"first": first}, {"started": jnp.where(decay != 0, jnp.ones_like(t), last["started"])}


@leaf_rule(
    slots=lambda p, decay: {} if decay is None else {"trace": jnp.zeros_like(p)},
    clock=_trace_clock,
    memory=("started",),
    static=("nesterov",),
    optional=("decay",),
    check=_check_trace,
    slot_dtypes={"accumulator_dtype": "trace"},
    bounds={"decay": "[0, inf)", "dampening": "(-inf, inf)"},
    rows=lambda decay: decay is None,  # a trace goes on without a gradient
)
def trace(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    decay: Hyperparameter,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
    *,
    dampening: Hyperparameter = 0.0,
) -> tuple[Array, Mapping[str, Array]]:
    """Accumulates a decaying sum of updates: momentum.

    For one parameter of shape `*p`, with b its trace of the same shape:

        b <- g                              at its first update with decay not 0
        b <- decay b + (1 - dampening) g    after that
        u  = b, or g + decay b with nesterov

    `decay` and `dampening` `()` have no unit. While decay is 0 the trace rests and u = g;
    with `decay=None` there is no trace at all, and no memory for one.

    Args:
      accumulator_dtype: dtype in which the trace is kept.

    Differences: optax has no dampening. torch's `momentum` is decay.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.trace(0.5)
      >>> state = tx.init({"w": 0.0})
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 1.0}, state)
      >>> updates
      {'w': Array(1.5, dtype=float32)}

    Reference: Sutskever, Martens, Dahl & Hinton, On the importance of initialization and
    momentum in deep learning, ICML 2013, equations 1 to 4.
    """
    del p, accumulator_dtype
    if decay is None:
        return g, {}
    on = decay != 0
    moved = jax.lax.select(now.first != 0, g, decay * slots.trace + (1 - dampening) * g)
    # Made of the new trace, not of the old one, the parameter leaves XLA free to write the one
    # over the other.
    b = jax.lax.select(on, moved, slots.trace)
    # Adding -0 changes nothing. Were g the branch of a select, XLA would keep it as an array of
    # its own, where it is a sum with a multiple of the parameter.
    none = jax.lax.full_like(g, -0.0)
    if nesterov:
        return g + jax.lax.select(on, decay * b, none), {"trace": b}
    return jax.lax.select(on, b, none) + jax.lax.select(on, none, g), {"trace": b}


def _ema_clock(
    t: Array, last: Mapping[str, Array], decay: Array, debias: bool
) -> tuple[dict[str, Any], dict[str, Array]]:
    scalars: dict[str, Any] = {"weights": mean_weights(t, decay, last["decay"])}
    if not debias:
        scalars["total"] = one_minus_power(decay, t)
    return scalars, {"decay": decay}


@leaf_rule(
    slots=lambda p: {"ema": jnp.zeros_like(p)},
    clock=_ema_clock,
    memory=("decay",),
    static=("debias",),
    slot_dtypes={"accumulator_dtype": "ema"},
    bounds={"decay": "[0, 1)"},
)
def ema(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    decay: Hyperparameter,
    debias: bool = True,
    accumulator_dtype: Any = None,
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by their exponential moving average.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- decay m + (1 - decay) g
        u  = m / (1 - decay^t) with debias, else m

    The state keeps m / (1 - decay^t), under `ema`. `decay` `()` has no unit. This averages
    updates, not parameters.

    Args:
      accumulator_dtype: dtype in which the average is kept.

    Raises:
      ValueError: decay outside [0, 1).

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.ema(0.5, debias=False)
      >>> tx.update({"w": 1.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(0.5, dtype=float32)}
    """
    del p, decay, accumulator_dtype
    mean = running_mean(slots.ema, g, now.weights)
    return mean if debias else mean * now.total, {"ema": mean}
