"""Keeping XLA from fusing what makes an array with what reads it."""

import jax
from jax.experimental.xla_metadata import set_xla_metadata

__all__ = ["unfused"]

Array = jax.Array


def unfused(x: Array) -> Array:
    """Returns x, which is then computed once, in a loop of its own, and written to memory.

    XLA fuses what is cheap into all that reads it, and so computes it several times, in loops
    that on CPU may be too large to be vectorized. It does not look into a function that must not
    be inlined, though. An `optimization_barrier` would not do: it is gone before loops are fused.
    """
    with set_xla_metadata(inlineable="false"):
        return _itself(x)


@jax.jit
def _itself(x: Array) -> Array:
    return x
