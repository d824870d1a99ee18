"""Converts the plain data of a checkpoint to JSON data and named arrays, and back."""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

__all__ = ["from_plain", "to_plain"]


def to_plain(function: str, value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Returns the value as JSON data, and puts its arrays into `arrays`, by name.

    Dicts with strings as keys, lists, numbers, strings and None stay as they are. What JSON lacks
    becomes a dict with one key, which begins with `$`.

    Args:
      function: the name with which errors begin.
      value: the plain data.
      name: of the value.
      arrays: name -> array; those of the value are added.

    Raises:
      TypeError: it holds something else; the message says where.
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
            at = f"{name}.{k}"
            key = to_plain(function, k, f"{at} (its key)", arrays)
            items.append([key, to_plain(function, v, at, arrays)])
        return {"$items": items}
    if type(value) in (list, tuple):
        parts = [to_plain(function, v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {"$tuple": parts} if isinstance(value, tuple) else parts
    raise TypeError(
        f"{function}: '{name}' is of type {type(value).__name__}. Pass plain data: dicts, lists, "
        "tuples, numbers, strings, None and arrays, such as state_dict() gives."
    )


def _unused(name: str, arrays: Mapping[str, Any]) -> str:
    """Returns the name, with a number where an array has it already."""
    numbered = (f"{name}#{i}" for i in itertools.count(len(arrays)))
    return name if name not in arrays else next(k for k in numbered if k not in arrays)


def from_plain(value: Any, arrays: Mapping[str, Any]) -> Any:
    """Returns what `to_plain` was given, with NumPy arrays in place of JAX's."""
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
