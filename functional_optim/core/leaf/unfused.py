"""Keeps XLA from fusing the loop that computes an array with the loops that read it."""

import jax
from jax.experimental.xla_metadata import set_xla_metadata

__all__ = ["unfused"]

Array = jax.Array


def unfused(x: Array) -> Array:
    """Returns x, which is then computed once, in a separate loop, and written to memory.

    XLA fuses a cheap operation into every loop that reads its result. It then runs several times,
    in loops that on CPU may be too large to be vectorized. XLA does not fuse into a function that
    must not be inlined, though. An `optimization_barrier` would not help: XLA removes it before
    it fuses loops.
    """
    with set_xla_metadata(inlineable="false"):
        return _identity(x)


# Jitted, because the metadata belongs to the call of a function.
@jax.jit
def _identity(x: Array) -> Array:
    return x
