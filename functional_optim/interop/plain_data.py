"""Converts the plain data of a checkpoint to JSON data and named arrays, and back."""

import itertools
from collections.abc import Mapping

import jax
import numpy as np

from ..core.protocol import PyTree

__all__ = ["from_plain", "to_plain"]

Array = jax.Array | np.ndarray


def to_plain(
    function: str, value: PyTree, name: str, arrays: dict[str, jax.Array | np.ndarray]
) -> PyTree:
    """Returns the value as JSON data, and puts its arrays into `arrays`, by name.

    Dicts with strings as keys, lists, numbers, strings and None are unchanged. Other values become
    a dict with one key, which begins with `$`.

    Args:
      function: name of the calling function, for errors.
      value: the plain data.
      name: name of the value.
      arrays: name -> array; the arrays of the value are added.

    Raises:
      TypeError: the value contains something else; the message says where.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    is_array = isinstance(value, (jax.Array, np.ndarray, np.generic))
    if is_array and not isinstance(value, np.ma.MaskedArray):
        name = _unused(name, arrays)
        arrays[name] = value
        return {"$scalar" if isinstance(value, np.generic) else "$array": name}
    if isinstance(value, Mapping):
        if all(isinstance(k, str) and not k.startswith("$") for k in value):
            return {k: to_plain(function, v, f"{name}.{k}", arrays) for k, v in value.items()}
        items = []
        for k, v in value.items():
            item_name = f"{name}.{k}"
            key = to_plain(function, k, f"{item_name} (its key)", arrays)
            items.append([key, to_plain(function, v, item_name, arrays)])
        return {"$items": items}
    if type(value) in (list, tuple):
        parts = [to_plain(function, v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {"$tuple": parts} if isinstance(value, tuple) else parts
    raise TypeError(
        f"{function}: '{name}' is of type {type(value).__name__}. Pass plain data: dicts, lists, "
        "tuples, numbers, strings, None and arrays, such as a result of state_dict()."
    )


def _unused(name: str, arrays: Mapping[str, object]) -> str:
    """Returns the name, with a number if another array has the name already."""
    numbered = (f"{name}#{i}" for i in itertools.count(len(arrays)))
    return name if name not in arrays else next(k for k in numbered if k not in arrays)


def from_plain(value: PyTree, arrays: Mapping[str, Array]) -> PyTree:
    """Converts JSON data and arrays back to the plain data, with NumPy arrays in place of JAX's."""
    if isinstance(value, list):
        return [from_plain(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return np.array(arrays[value["$array"]])
    if "$scalar" in value:
        return np.asarray(arrays[value["$scalar"]])[()]
    if "$tuple" in value:
        return tuple(from_plain(v, arrays) for v in value["$tuple"])
    if "$items" in value:
        return {from_plain(k, arrays): from_plain(v, arrays) for k, v in value["$items"]}
    return {k: from_plain(v, arrays) for k, v in value.items()}
