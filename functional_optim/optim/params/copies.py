"""Copies of the user's arrays, which a step may overwrite."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ...core.protocol import PyTree
from ...core.trees.structure import is_sparse, path_string
from ..conversions import as_numpy

__all__ = ["check_alive", "copy_like", "copy_params", "deduplicate"]


def check_alive(where: str, tree: PyTree) -> None:
    """Raises RuntimeError if an array has been deleted, as a step deletes its parameters."""
    for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer) and x.is_deleted():
            raise RuntimeError(
                f"{where}: the array at '{path_string(path)}' has been deleted. Arrays that "
                "were read from optimizer.params do not outlive the next step, which reuses their "
                "memory. Read them again, or keep a copy: optimizer.copy_params()."
            )


def copy_params(where: str, params: PyTree) -> PyTree:
    """Copies all arrays of a tree.

    Raises:
      RuntimeError: an array has been deleted.
      TypeError: a leaf is not an array; the message names it.
      ValueError: a leaf is sparse.
    """
    check_alive(where, params)
    return jax.tree_util.tree_map_with_path(
        lambda path, x: _copy(where, path, x), params, is_leaf=is_sparse
    )


def _copy(where: str, path: tuple[object, ...], x: PyTree) -> jax.Array:
    if is_sparse(x):
        raise ValueError(
            f"{where} requires dense parameter tensors, and the parameter at "
            f"'{path_string(path)}' is sparse. Pass its todense(); gradients may be sparse."
        )
    try:
        array = jnp.asarray(as_numpy(x) if hasattr(x, "detach") else x)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{where}: the parameter at '{path_string(path)}' is of type {type(x).__name__}, not "
            "an array. Pass only the arrays, such as equinox.filter(model, equinox.is_array)."
        ) from error
    # With an explicit dtype the copy is not weakly typed, as the results of a step are not.
    return jnp.array(array, array.dtype, copy=True)


def deduplicate(leaves: Sequence[jax.Array], params: PyTree) -> list[jax.Array]:
    """Copies arrays that occur twice or are parameters: a step can donate a buffer only once."""
    seen = {id(x) for x in jax.tree.leaves(params)}
    distinct = []
    for x in leaves:
        distinct.append(jnp.copy(x) if id(x) in seen else x)
        seen.add(id(x))
    return distinct


def copy_like(old: jax.Array, x: ArrayLike) -> jax.Array:
    """Copies `x` in the dtype of `old`, and onto its sharding unless `x` is committed."""
    copy = jnp.array(x, copy=True).astype(old.dtype)
    if isinstance(copy, jax.core.Tracer) or isinstance(old, jax.core.Tracer):
        return copy
    return jax.device_put(copy, old.sharding) if old.committed and not copy.committed else copy
