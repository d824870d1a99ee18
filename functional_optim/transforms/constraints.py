"""Constraints on updates, and on the parameters after them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.decorators import TreeStats, leaf_rule
from ..core.numerics.validation import as_state
from ..core.rules.context import Slots, StepContext

__all__ = ["keep_params_nonnegative", "zero_nans"]

Array = jax.Array


@leaf_rule(needs=("params",), row_sparse=True)
def keep_params_nonnegative(
    g: Array, slots: Slots, p: Array, ctx: StepContext
) -> tuple[Array, dict[str, Array]]:
    """Bounds updates so that no parameter becomes negative.

    For one parameter of shape `*p`: u = max(g, -p). Put this at the end of a chain, after
    the learning rate. A parameter that is negative already becomes 0.

    Raises:
      ValueError: `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.keep_params_nonnegative(), {"w": jnp.array([1.0, 1.0])}
      >>> tx.update({"w": jnp.array([-3.0, -0.5])}, tx.init(params), params)[0]
      {'w': Array([-1. , -0.5], dtype=float32)}
    """
    del slots, ctx
    return jnp.maximum(g, -p), {}


def _measure(g: Array, slots: Slots, p: None, ctx: StepContext) -> Mapping[str, Array]:
    del slots, p, ctx
    return {"nans": as_state(jnp.sum(jnp.isnan(g)))}


def _combine(stats: Any, last: Mapping[str, Array]) -> Mapping[str, Array]:
    del last
    return {"nans": as_state(0.0) if stats is None else jnp.sum(stats["nans"])}


@leaf_rule(
    tree_stats=TreeStats(measure=_measure, combine=_combine, metrics=("nans",)),
    split_complex=False,
    row_sparse=True,
)
def zero_nans(g: Array, slots: Slots, p: None, ctx: StepContext) -> tuple[Array, dict[str, Array]]:
    """Replaces NaN in updates by 0, and counts them.

    The state holds `metrics["nans"]`, the number of elements that were NaN at the last step.
    Infinite elements stay as they are: guard against them with `apply_if_finite`.

    Differences: optax's state says of each leaf whether it had any.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.zero_nans()
      >>> updates, state = tx.update({"w": jnp.array([jnp.nan, 2.0])}, tx.init({"w": jnp.zeros(2)}))
      >>> updates["w"].tolist(), float(state.metrics["nans"])
      ([0.0, 2.0], 1.0)
    """
    del slots, p, ctx
    return jax.lax.select(jnp.isnan(g), jax.lax.full_like(g, 0), g), {}
