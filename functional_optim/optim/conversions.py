"""Conversions of foreign values: torch's tensors to NumPy arrays, lists to tuples."""

import numpy as np

from ..core.protocol import Hyperparameter

__all__ = ["as_numpy", "freeze", "is_plain_number"]


def as_numpy(x: object) -> np.ndarray:
    """Views an array, or a tensor of torch, as a NumPy array; bfloat16 tensors become float32."""
    if not hasattr(x, "detach"):
        return np.asarray(x)
    tensor = x.detach().cpu()
    try:
        return np.asarray(tensor.numpy())
    except TypeError:  # NumPy has no bfloat16
        return np.asarray(tensor.float().numpy())


def freeze(value: Hyperparameter) -> Hyperparameter:
    """Returns an immutable copy of a value, because an edit in place would not be noticed."""
    if type(value) in (list, tuple):
        return tuple(freeze(v) for v in value)
    if hasattr(value, "detach"):
        value = as_numpy(value)
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.flags.writeable = False
    return value


def is_plain_number(value: object) -> bool:
    """Tells whether a value is a number of Python or NumPy; a bool does not count."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
