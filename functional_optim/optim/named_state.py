"""States as flat dictionaries of NumPy arrays under readable paths."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..core.trees import path_string
from .plain import as_numpy

__all__ = ["COUNT", "load_named_state", "named_state", "place", "read_state_dict"]

COUNT = "_count"
"""Key of the number of steps in a saved group; it is none of the user's."""


def named_state(state: PyTree) -> dict[str, np.ndarray[Any, Any]]:
    """Writes the arrays of a state under their paths: `0.scale_by_adam.mu.dense.kernel`."""
    flat = jax.tree_util.tree_flatten_with_path(state)[0]
    return {path_string(path): np.asarray(x) for path, x in flat}


def read_state_dict(who: str, given: Any) -> tuple[Mapping[Any, Any], list[Mapping[str, Any]]]:
    """The state and the groups of a state_dict.

    Raises:
      TypeError: it is none.
    """
    if not isinstance(given, Mapping) or not {"state", "param_groups"} <= given.keys():
        raise TypeError(
            f"{who}: state_dict must be a dict with 'state' and 'param_groups', got "
            f"{f'the keys {list(given)}' if isinstance(given, Mapping) else type(given).__name__}. "
            "Pass what state_dict() of an optimizer gave."
        )
    return given["state"], list(given["param_groups"])


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
            f"{who}: the saved state is of another optimizer or other "
            f"parameters: {'; '.join(problems)}. Nothing was loaded."
        )
    return jax.tree_util.tree_unflatten(treedef, [place(saved[k], x) for k, x in wanted.items()])


def place(value: Any, like: Any) -> jax.Array:
    """The value as a new array with the dtype, and where committed the sharding, of another."""
    new = jnp.array(as_numpy(value), like.dtype)
    committed = isinstance(like, jax.Array) and like.committed  # NumPy scalars are nowhere
    return jax.device_put(new, like.sharding) if committed else new
