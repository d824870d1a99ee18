"""The library that computes with an array: jax.numpy in a program, NumPy on the host."""

import types
from typing import Any

__all__ = ["namespace"]


def namespace(x: Any) -> types.ModuleType | Any:
    """Returns the module whose functions fit `x`: `jax.numpy` for a JAX array, else `numpy`.

    Maths that is written with these functions runs in both. A scheduler, which computes one
    number for each epoch, runs it in NumPy's float64 without dispatching to a device.
    """
    return x.__array_namespace__()
