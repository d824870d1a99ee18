"""Copies the arrays of one state into the shapes and shardings of another."""

from collections import Counter

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.structure import path_string
from ..serialization.placing import place

__all__ = ["copy_arrays"]

_ROOT = path_string(())

HostArray = np.ndarray


def copy_arrays(function: str, source: PyTree, like: PyTree) -> PyTree:
    """Returns the arrays of one tree in the structure, shapes and shardings of another.

    If one tree has several arrays below a path and the other has one array at it, as for
    ensembles of vectors, the arrays are concatenated, or the array is split.

    Raises:
      ValueError: an array is missing, or has another size.
    """
    flat = jax.tree_util.tree_flatten_with_path(source)[0]
    arrays = {path_string(path): np.asarray(x) for path, x in flat}
    offsets: Counter[str] = Counter()

    def convert(path: tuple[object, ...], x: jax.Array) -> jax.Array:
        value = _find(path_string(path), x.size, arrays, offsets)
        if value is None and x.size == 1:  # a placeholder of an array that optax does not keep
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
    path: str, size: int, arrays: dict[str, HostArray], offsets: Counter[str]
) -> HostArray | None:
    """Returns the array at a path, the concatenated arrays below, or the next part of one above."""
    if path in arrays:
        return arrays[path]
    below = "" if path == _ROOT else f"{path}."
    parts = [x.ravel() for name, x in arrays.items() if name.startswith(below)]
    if parts:
        return np.concatenate(parts)
    above = path.rpartition(".")[0] or _ROOT
    if above not in arrays:
        return None
    start, offsets[above] = offsets[above], offsets[above] + size
    return arrays[above].ravel()[start : start + size]
