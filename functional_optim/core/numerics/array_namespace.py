"""The library that computes with an array: jax.numpy in a program, NumPy on the host."""

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["namespace"]


def namespace(x: Any) -> types.ModuleType | Any:
    """Returns the module whose functions fit `x`: `jax.numpy` for a JAX array, else `numpy`.

    Maths that is written with these functions runs in both. A scheduler, which computes one
    number for each epoch, runs it in NumPy's float64 without dispatching to a device.
    """
    return jnp if isinstance(x, jax.Array) else np  # scalars of NumPy 2.0 have no namespace
