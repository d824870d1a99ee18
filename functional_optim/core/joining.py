"""Many arrays of one shape as one array, and apart again, in few kernels."""

from collections.abc import Sequence

import jax
import numpy as np

__all__ = ["apart", "join"]

Array = jax.Array

_CHUNK = 32
"""Arrays that one kernel makes: as its outputs, so that few kernels have to be compiled."""


def join(arrays: Sequence[Array]) -> Array:
    """Stacks arrays of one shape and dtype along a new first axis.

    Where shardings are part of types, and differ, the result is whole on every device.
    """
    types = {jax.typeof(x) for x in arrays}
    if len(types) > 1:
        arrays = [jax.sharding.reshard(x, jax.P()) for x in arrays]
    return jax.lax.concatenate([jax.lax.expand_dims(x, (0,)) for x in arrays], 0)


@jax.custom_jvp
def apart(stack: Array) -> tuple[Array, ...]:
    """The arrays along the first axis; the reverse of `join`.

    On CPU, XLA makes a kernel of each slice, and as no two have the same offset, compiles each:
    4.5 s for 256 of them, where joining takes 0.2 s. So there the arrays are the many results of
    few reductions, as the rows in `unstack` are.
    """
    return jax.lax.platform_dependent(stack, cpu=_by_reductions, default=_by_slices)


@apart.defjvp
def _apart_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (stack,), (tangent,) = primals, tangents
    return apart(stack), _by_slices(tangent)


def _by_slices(stack: Array) -> tuple[Array, ...]:
    rows = jax.lax.split(stack, (1,) * stack.shape[0])
    return tuple(jax.lax.squeeze(row, (0,)) for row in rows)


def _by_reductions(stack: Array) -> tuple[Array, ...]:
    n = stack.shape[0]
    chunks = [jax.lax.slice_in_dim(stack, i, min(i + _CHUNK, n)) for i in range(0, n, _CHUNK)]
    return tuple(x for chunk in chunks for x in _sums(chunk))


# Jitted apart: traced once for all chunks of one size.
@jax.jit
def _sums(chunk: Array) -> list[Array]:
    """Each array as its sum with one of -0, which leaves every number as it is.

    Over one array alone, XLA would see that there is nothing to reduce.
    """
    zero = -np.zeros((), chunk.dtype)
    edges = [(0, 1, 0)] + [(0, 0, 0)] * (chunk.ndim - 1)
    pairs = [
        jax.lax.pad(jax.lax.slice_in_dim(chunk, i, i + 1), zero, edges)
        for i in range(chunk.shape[0])
    ]
    return jax.lax.reduce(pairs, [zero] * len(pairs), _add, (0,))


def _add(xs: list[Array], ys: list[Array]) -> list[Array]:
    return [jax.lax.add(x, y) for x, y in zip(xs, ys, strict=True)]
