"""States as flat dictionaries of NumPy arrays under readable paths."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.trees import path_string

__all__ = ["load_named_state", "named_state"]


def named_state(state: PyTree) -> dict[str, np.ndarray[Any, Any]]:
    """Writes the arrays of a state under their paths: `0.scale_by_adam.mu.dense.kernel`."""
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    return {path_string(path): np.asarray(x) for path, x in flat}


def load_named_state(who: str, state: PyTree, saved: Mapping[str, Any]) -> PyTree:
    """The state with the arrays that were saved, each placed as the one it replaces.

    Raises:
      ValueError: a path is missing or unexpected, or a shape differs; the message lists all.
    """
    flat, treedef = jax.tree_util.tree_flatten_with_path(state)
    wanted = {path_string(path): x for path, x in flat}
    problems = [f"missing '{k}'" for k in wanted if k not in saved]
    problems += [f"unexpected '{k}'" for k in saved if k not in wanted]
    problems += [
        f"'{k}' has shape {np.shape(saved[k])} where this state has {x.shape}"
        for k, x in wanted.items()
        if k in saved and np.shape(saved[k]) != x.shape
    ]
    if problems:
        raise ValueError(
            f"{who}.load_state_dict: the saved state is of another optimizer or other "
            f"parameters: {'; '.join(problems)}. Nothing was loaded."
        )
    return jax.tree_util.tree_unflatten(treedef, [place(saved[k], x) for k, x in wanted.items()])


def place(value: Any, like: jax.Array) -> jax.Array:
    """The value as a new array with the dtype, and where committed the sharding, of another."""
    new = jnp.array(np.asarray(value), like.dtype)
    return jax.device_put(new, like.sharding) if like.committed else new
