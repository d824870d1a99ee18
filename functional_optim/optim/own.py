"""Arrays of the optimizer's own, which a step may overwrite."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.rows import is_sparse
from ..core.trees import path_string

__all__ = ["each_once", "own", "own_like"]


def own(where: str, params: PyTree) -> PyTree:
    """Copies of all arrays.

    Raises:
      TypeError: a leaf is no array; the message names it.
      ValueError: a leaf is sparse.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, x: _own(where, path, x), params, is_leaf=is_sparse
    )


def _own(where: str, path: Any, x: Any) -> jax.Array:
    if is_sparse(x):
        raise ValueError(
            f"{where} requires dense parameter tensors, and the parameter at "
            f"'{path_string(path)}' is sparse. Pass its todense(); gradients may be sparse."
        )
    try:
        array = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{where}: the parameter at '{path_string(path)}' is of type {type(x).__name__}, and "
            "no array. Pass the arrays alone, such as equinox.filter(model, equinox.is_array)."
        ) from error
    # With a dtype, the copy is not weakly typed: a step's results are not either.
    return jnp.array(array, array.dtype, copy=True)


def each_once(leaves: Sequence[Any]) -> list[Any]:
    """The arrays, with copies of those that are there before: a step donates each."""
    seen: set[int] = set()
    made = []
    for x in leaves:
        made.append(jnp.copy(x) if id(x) in seen else x)
        seen.add(id(x))
    return made


def own_like(old: jax.Array, x: Any) -> jax.Array:
    """A copy in the dtype of another array, and in its place unless it has one of its own."""
    copy = jnp.array(x, copy=True).astype(old.dtype)
    if isinstance(copy, jax.core.Tracer) or isinstance(old, jax.core.Tracer):
        return copy
    return jax.device_put(copy, old.sharding) if old.committed and not copy.committed else copy
