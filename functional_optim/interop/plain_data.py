"""Converts the plain data of a checkpoint to JSON data and named arrays, and back."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

__all__ = ["from_plain", "to_plain"]


def to_plain(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Returns the value as JSON data, and puts its arrays into `arrays`, by name.

    Dicts with strings as keys, lists, numbers, strings and None stay as they are. What JSON lacks
    becomes a dict with one key, which begins with `$`.

    Raises:
      TypeError: it holds something else; the message says where.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        name = name if name not in arrays else f"{name}#{len(arrays)}"
        arrays[name] = value
        return {"$scalar" if isinstance(value, np.generic) else "$array": name}
    if isinstance(value, Mapping):
        if all(isinstance(k, str) and not k.startswith("$") for k in value):
            return {k: to_plain(v, f"{name}.{k}", arrays) for k, v in value.items()}
        return {"$items": [[k, to_plain(v, f"{name}.{k}", arrays)] for k, v in value.items()]}
    if type(value) in (list, tuple):
        parts = [to_plain(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {"$tuple": parts} if isinstance(value, tuple) else parts
    raise TypeError(
        f"save: '{name}' is of type {type(value).__name__}. Pass plain data: dicts, lists, tuples, "
        "numbers, strings, None and arrays, such as state_dict() gives."
    )


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
        return {k: from_plain(v, arrays) for k, v in value["$items"]}
    return {k: from_plain(v, arrays) for k, v in value.items()}
