"""Momentum: sums and means of past updates."""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, moment
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import Decay, Optional_, SlotDtype, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.traced_hyperparams import is_traced

__all__ = ["ema", "trace"]

Array = jax.Array


def _check_trace(arguments: Mapping[str, Hyperparameter]) -> str | None:
    """Returns an error message if an option of the trace is passed although there is no trace."""
    defaults = {
        "nesterov": False,
        "accumulator_dtype": None,
        "dampening": None,
        "rest_at_zero": False,
    }
    for name, default in defaults.items():
        value = arguments[name]
        # A traced number may be the default: wrappers pass on all arguments of a factory.
        if arguments["decay"] is None and not is_traced(value) and value != default:
            return f"{name}={value!r} needs momentum, got None. Pass a decay, such as 0.9."
    return None


def _trace_slots(p: Array, decay: Hyperparameter) -> dict[str, Array]:
    return {} if decay is None else {"trace": jnp.zeros_like(p)}


def _trace_carry(decay: Hyperparameter, rest_at_zero: bool) -> dict[str, float]:
    """Declares `started`, which is 0 until a leaf's trace contains a gradient, then 1."""
    return {"started": 0.0} if rest_at_zero and decay is not None else {}


def _trace_scalars(
    t: Array,
    decay: Array | None,
    dampening: Array | None,
    started: Array | None = None,
) -> dict[str, Array]:
    """Computes `gain`, the weight of the new gradient, and `is_on`, whether the trace is used.

    Without dampening and rest_at_zero, the weight is 1 and the trace always used: both are left
    out, so that they cost nothing.
    """
    if decay is None or (dampening is None and started is None):
        return {}
    gain = 1.0 if dampening is None else 1 - dampening
    if started is None:
        return {"gain": jnp.where(t > 1, gain, 1.0)}
    is_on = decay != 0
    return {
        "is_on": is_on,
        "gain": jnp.where(started > 0, gain, 1.0),
        "started": jnp.where(is_on, 1.0, started),
    }


@leaf_rule(
    slots=_trace_slots,
    carry=_trace_carry,
    step_scalars=_trace_scalars,
    check=_check_trace,
    # With a trace, rows without a gradient are updated as well.
    row_sparse=lambda decay: decay is None,
)
def trace(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    decay: Annotated[Hyperparameter | None, Within("[0, inf)"), Optional_],
    nesterov: Static[bool] = False,
    accumulator_dtype: Annotated[DTypeLike | None, SlotDtype("trace")] = None,
    *,
    dampening: Annotated[Hyperparameter | None, Within("(-inf, inf)"), Optional_] = None,
    rest_at_zero: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, Mapping[str, Array]]:
    """Accumulates a decaying sum of updates: momentum.

    For one parameter of shape `*p`, with b its trace of the same shape, 0 at the start:

        b <- decay b + g
        u  = b, or g + decay b with nesterov

    With `dampening`, g enters b times 1 - dampening, except at the first update of the parameter,
    which enters whole. `decay` and `dampening` `()` have no unit; b and u are in units of g. With
    `decay=None` there is no trace, and the state keeps nothing for one.

    Args:
      decay: factor of b at each update; None for no trace.
      nesterov: whether u is g + decay b, the look-ahead of the trace.
      accumulator_dtype: dtype in which the trace is kept.
      dampening: share of a gradient that does not enter the trace; None is 0, and costs nothing.
      rest_at_zero: as in torch, keep the trace unchanged while decay is 0, and start it with the
        first gradient after that; meanwhile u = g. Without it, a decay of 0 forgets the past.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax has no dampening. torch's `momentum` is decay, and torch always behaves as
    with rest_at_zero.

    Raises:
      ValueError: decay < 0, or an option of the trace is passed with `decay=None`.

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
    del p, accumulator_dtype, state_dtype
    if decay is None:
        return g, {}
    if rest_at_zero:
        # Not decay * trace + 0 * g, because the gradient may be infinite.
        b = jax.lax.select(ctx.is_on, moment(slots.trace, g, decay, ctx.gain), slots.trace)
    elif dampening is not None:
        b = moment(slots.trace, g, decay, ctx.gain)
    else:
        b = decay * slots.trace + g
    if nesterov:
        return g + decay * b, {"trace": b}
    if not rest_at_zero:
        return b, {"trace": b}
    # This is select(is_on, b, g), written as a sum: adding -0 changes nothing. With the plain
    # select, XLA would store g as an array where weight decay computes it, instead of fusing it.
    zero = jax.lax.full_like(g, -0.0)
    u = jax.lax.select(ctx.is_on, b, zero) + jax.lax.select(ctx.is_on, zero, g)
    return u, {"trace": b}


def _ema_scalars(t: Array, decay: Array, debias: bool) -> dict[str, Array]:
    """Computes the weight of the new update, and the bias correction."""
    gain = {"gain": 1 - decay}
    return gain | ({"correction": bias_correction(decay, t)} if debias else {})


@leaf_rule(slots=lambda p: {"ema": jnp.zeros_like(p)}, step_scalars=_ema_scalars)
def ema(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    decay: Decay,
    debias: Static[bool] = True,
    accumulator_dtype: Annotated[DTypeLike | None, SlotDtype("ema")] = None,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by their exponential moving average.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- decay m + (1 - decay) g
        u  = m / (1 - decay^t) with debias, else m

    The state keeps m, of shape `*p`, under `ema`. `decay` `()` has no unit. This averages
    updates, not parameters: for those, see `params_ema`.

    Args:
      decay: decay of m, in [0, 1).
      debias: whether to divide m by 1 - decay^t.
      accumulator_dtype: dtype in which the average is kept.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Raises:
      ValueError: decay outside [0, 1).

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.ema(0.5, debias=False)
      >>> tx.update({"w": 1.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(0.5, dtype=float32)}
    """
    del p, accumulator_dtype, state_dtype
    m = moment(slots.ema, g, decay, ctx.gain)
    return ctx.correction * m if debias else m, {"ema": m}
