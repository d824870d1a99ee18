"""Grokfast: adds a slow mean of gradients to each gradient."""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.numerics.moments import moment
from ..core.numerics.validation import as_count
from ..core.rules.arguments import Decay, NonNegative, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.rules.schedule import check_choice
from ..core.trees.placement import sharded_as, zeros_like_copies

__all__ = ["grokfast", "grokfast_ma"]

Array = jax.Array


def _step_scalars(t: Array, alpha: Array) -> dict[str, Array]:
    """Computes the weights of the mean, whose first value is the first gradient."""
    first = t == 1
    return {"decay": jnp.where(first, 0.0, alpha), "gain": jnp.where(first, 1.0, 1 - alpha)}


@leaf_rule(slots=lambda p: {"ema": jnp.zeros_like(p)}, step_scalars=_step_scalars)
def grokfast(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    alpha: Decay = 0.98,
    lamb: NonNegative = 2.0,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Adds a multiple of their running mean to updates, which amplifies their slow components.

    For one parameter of shape `*p`:

        m <- alpha m + (1 - alpha) g,    m = g at the first update
        u  = g + lamb m

    Put it before an optimizer: `chain(grokfast(), adamw(1e-3))`. The state keeps m as `ema`,
    of shape `*p`, in units of g. `alpha` and `lamb` `()` have no unit; u is in units of g.

    Args:
      alpha: decay of m, in [0, 1).
      lamb: weight of m in u.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code, where its name is gradfilter_ema.

    Raises:
      ValueError: alpha outside [0, 1), or lamb negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.grokfast(alpha=0.5)
      >>> print(tx.update({"w": 3.0}, tx.init({"w": 0.0}))[0]["w"])
      9.0

    Reference: Lee et al., Grokfast: Accelerated grokking by amplifying slow gradients, 2024,
    Algorithm 2, arXiv:2405.20233.
    """
    del p, alpha, state_dtype
    ema = moment(slots.ema, g, ctx.decay, ctx.gain)
    return g + lamb * ema, {"ema": ema}


def _window_scalars(
    t: Array, window_size: int, lamb: Array, filter_type: str, warmup: bool
) -> dict[str, Array]:
    """Computes the index of the new gradient in the window, and the weight of the window's sum."""
    full = t >= window_size
    weight = lamb / (jnp.minimum(t, window_size) if filter_type == "mean" else 1)
    return {
        "place": jnp.mod(t - 1, window_size).astype(jnp.int32),
        "weight": jnp.where(full, weight, 0.0) if warmup else weight * jnp.ones_like(t),
    }


def _check(options: Mapping[str, object]) -> str | None:
    as_count(options["window_size"], "grokfast_ma: window_size")
    check_choice(options["filter_type"], "grokfast_ma: filter_type", ("mean", "sum"))
    return None


@leaf_rule(
    slots=lambda p, window_size: {"window": zeros_like_copies(p, window_size)},
    step_scalars=_window_scalars,
    check=_check,
)
def grokfast_ma(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    window_size: Static[int] = 100,
    lamb: NonNegative = 5.0,
    *,
    filter_type: Static[Literal["mean", "sum"]] = "mean",
    warmup: Static[bool] = True,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Adds a multiple of the mean of the latest updates to each update.

    For one parameter of shape `*p`: u = g + lamb mean, with the mean over its last `window_size`
    updates including g. `grokfast` has a running mean instead, and needs less memory.

    The state keeps these updates as `window`, `(window_size, *p)`, in units of g. `lamb` `()` has
    no unit; u is in units of g.

    Args:
      window_size: number of updates that are averaged.
      lamb: weight of the mean in u.
      filter_type: `"mean"` or `"sum"`.
      warmup: whether the first window_size - 1 updates pass unchanged.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code, where its name is gradfilter_ma.

    Raises:
      ValueError: window_size < 1, lamb negative, or an unknown filter_type.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.grokfast_ma(window_size=2, lamb=1.0), {"w": 0.0}
      >>> state = tx.init(params)
      >>> for g in (1.0, 3.0):
      ...     updates, state = tx.update({"w": g}, state)
      ...     print(updates["w"])
      1.0
      5.0

    Reference: Lee et al., Grokfast: Accelerated grokking by amplifying slow gradients, 2024,
    Algorithm 1, arXiv:2405.20233.
    """
    del p, window_size, lamb, filter_type, warmup, state_dtype
    # With explicit sharding, g must have the sharding of the slice that it replaces.
    replaced = jax.lax.dynamic_index_in_dim(slots.window, ctx.place, keepdims=False)
    g = sharded_as(g, replaced)
    window = jax.lax.dynamic_update_index_in_dim(slots.window, g, ctx.place, 0)
    return g + ctx.weight * jnp.sum(window, axis=0), {"window": window}
