"""Inner transformations that run at some steps only."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.apply import no_updates
from ..core.protocol import PyTree

__all__ = ["act_or_rest"]

Array = jax.Array


def act_or_rest(
    holds: Array, act: Callable[[], tuple[PyTree, Any]], state: Any, instead: PyTree | None = None
) -> tuple[PyTree, Any]:
    """`act()`, updates and state, where a condition `()` holds; elsewhere it is not computed.

    Args:
      state: what the state stays where it does not hold.
      instead: the updates there, given in the dtypes of those of `act`; None for none.
    """

    def rest() -> tuple[PyTree, Any]:
        like = jax.eval_shape(act)[0]
        if instead is None:
            given = no_updates(jax.tree.map(_zeros, like))
        else:
            given = jax.tree.map(lambda x, y: jnp.asarray(x).astype(y.dtype), instead, like)
        return given, jax.tree.map(jnp.asarray, state)

    return jax.lax.cond(holds, act, rest)


def _zeros(x: jax.ShapeDtypeStruct) -> Array:
    return jnp.zeros(x.shape, x.dtype, out_sharding=x.sharding)  # None but on an explicit mesh
