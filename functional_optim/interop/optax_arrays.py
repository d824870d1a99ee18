"""The arrays of one state in the shapes and places of another's."""

from collections import Counter
from typing import Any

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.trees import path_string
from ..serialization.placing import place

__all__ = ["converted"]

_ROOT = path_string(())

Host = np.ndarray[Any, Any]


def converted(who: str, source: PyTree, like: PyTree, scale: float) -> PyTree:
    """The arrays of one tree, times a number, in the shapes and places of the other.

    An array that is several there, below its path, is all of them end to end, and the reverse.
    """
    flat = jax.tree_util.tree_flatten_with_path(source)[0]
    found = {path_string(path): np.asarray(x) for path, x in flat}
    taken: Counter[str] = Counter()

    def convert(path: Any, x: Any) -> Any:
        value = _value(path_string(path), x.size, found, taken)
        if value is None and x.size == 1:  # a stand-in for what is not kept
            return x
        if value is None or value.size != x.size:
            had = "nothing" if value is None else f"shape {value.shape}"
            raise ValueError(
                f"{who}: at '{path_string(path)}' there is {had}, where shape {x.shape} is needed. "
                "Pass states of the same parameters and options."
            )
        wide = value.astype(np.result_type(value.dtype, np.float64)) if scale != 1 else value
        return place((wide * scale if scale != 1 else wide).reshape(x.shape), x)

    return jax.tree_util.tree_map_with_path(convert, like)


def _value(path: str, size: int, found: dict[str, Host], taken: Counter[str]) -> Host | None:
    """What stands at a path, or the parts below it, or the next part of what stands above."""
    if path in found:
        return found[path]
    below = "" if path == _ROOT else f"{path}."
    parts = [x.ravel() for name, x in found.items() if name.startswith(below)]
    if parts:
        return np.concatenate(parts)
    above = path.rpartition(".")[0] or _ROOT
    if above not in found:
        return None
    start, taken[above] = taken[above], taken[above] + size
    return found[above].ravel()[start : start + size]
