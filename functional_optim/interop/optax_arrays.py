"""Copies the arrays of one state into the shapes and shardings of another."""

from collections import Counter
from typing import Any

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.structure import path_string
from ..serialization.placing import place

__all__ = ["copy_arrays"]

_ROOT = path_string(())

HostArray = np.ndarray[Any, Any]


def copy_arrays(function: str, source: PyTree, like: PyTree) -> PyTree:
    """Returns the arrays of one tree in the structure, shapes and shardings of another.

    Where one tree has several arrays below a path and the other has one array at it, as for
    ensembles of vectors, they are joined end to end, or cut.

    Raises:
      ValueError: an array is not there, or has another size.
    """
    flat = jax.tree_util.tree_flatten_with_path(source)[0]
    arrays = {path_string(path): np.asarray(x) for path, x in flat}
    taken: Counter[str] = Counter()

    def convert(path: Any, x: Any) -> Any:
        value = _find(path_string(path), x.size, arrays, taken)
        if value is None and x.size == 1:  # a placeholder for what is not kept
            return x
        if value is None or value.size != x.size:
            got = "nothing" if value is None else f"shape {value.shape}"
            raise ValueError(
                f"{function}: at '{path_string(path)}' there is {got}, where shape {x.shape} is "
                "needed. Pass states of the same parameters and options."
            )
        return place(value.reshape(x.shape), x)

    return jax.tree_util.tree_map_with_path(convert, like)


def _find(
    path: str, size: int, arrays: dict[str, HostArray], taken: Counter[str]
) -> HostArray | None:
    """Returns the array at a path, or those below it joined, or the next part of the one above."""
    if path in arrays:
        return arrays[path]
    below = "" if path == _ROOT else f"{path}."
    parts = [x.ravel() for name, x in arrays.items() if name.startswith(below)]
    if parts:
        return np.concatenate(parts)
    above = path.rpartition(".")[0] or _ROOT
    if above not in arrays:
        return None
    start, taken[above] = taken[above], taken[above] + size
    return arrays[above].ravel()[start : start + size]
