"""Which library computes with an array: jax.numpy in a program, NumPy on the host."""

from typing import Any

__all__ = ["namespace"]


def namespace(x: Any) -> Any:
    """Returns the module whose functions fit `x`: `jax.numpy` for a JAX array, else `numpy`.

    Maths written in its functions serves both sides. A scheduler, which computes one number
    for each epoch, has it in NumPy's float64 without a dispatch to a device.
    """
    return x.__array_namespace__()
