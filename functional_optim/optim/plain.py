"""Values from elsewhere as plain ones: tensors of torch as NumPy arrays, lists as tuples."""

from typing import Any

import numpy as np

__all__ = ["as_numpy", "frozen", "is_plain_number"]


def as_numpy(x: Any) -> np.ndarray[Any, Any]:
    """Views what may be a tensor of torch as a NumPy array; bfloat16 becomes float32."""
    if not hasattr(x, "detach"):
        return np.asarray(x)
    tensor = x.detach().cpu()
    try:
        return np.asarray(tensor.numpy())
    except TypeError:  # NumPy has no bfloat16
        return np.asarray(tensor.float().numpy())


def frozen(value: Any) -> Any:
    """The value as one that cannot be edited in place, where no edit would be noticed."""
    if type(value) in (list, tuple):
        return tuple(frozen(v) for v in value)
    if hasattr(value, "detach"):
        value = as_numpy(value)
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.flags.writeable = False
    return value


def is_plain_number(value: Any) -> bool:
    """Whether a value is a number of Python or NumPy; a flag is none."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
