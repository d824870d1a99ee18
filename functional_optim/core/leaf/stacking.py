"""Many arrays of one shape as one array, and apart again, in few kernels."""

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

import jax
import numpy as np

from ..numerics.precision import hyper_dtype
from ..trees.placement import joinable

__all__ = ["FEW", "FEW_READERS", "apart", "join", "sealed"]

Array = jax.Array
K = TypeVar("K", bound=Hashable)

FEW = 32
"""Most outputs of one kernel."""


def join(arrays: Sequence[Array]) -> Array:
    """Stacks arrays of one shape and dtype along a new first axis.

    Where shardings are part of types, and differ, the result is whole on every device.
    """
    return jax.lax.concatenate([jax.lax.expand_dims(x, (0,)) for x in joinable(arrays)], 0)


@jax.custom_jvp
def apart(stack: Array) -> tuple[Array, ...]:
    """Unstacks the arrays along the first axis; the reverse of `join`.

    On CPU, XLA makes a kernel of each slice, or fuses it into what reads it. No two have the same
    offset, so that none has the kernel of another, and each is compiled: 4.5 s for 256 slices,
    where joining takes 0.2 s. So there the arrays are the many results of few reductions, which
    stay kernels of their own: of one for each 32 arrays, and these kernels are all the same.
    """
    return jax.lax.platform_dependent(stack, cpu=_by_reductions, default=_by_slices)


@apart.defjvp
def _apart_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (stack,), (tangent,) = primals, tangents
    return apart(stack), _by_slices(tangent)


FEW_READERS = 4
"""Number of leaves from which on `sealed` pays."""


def sealed(scalars: dict[K, Array]) -> dict[K, Array]:
    """Wraps the scalars of a step so that XLA computes each once, and not again in each leaf.

    XLA repeats what is cheap (a subtraction, a product) in every loop that reads it: an operation
    more in each loop of each leaf, to compile and to run. Results of a reduction are not repeated.
    """
    names = [k for k, x in scalars.items() if _is_cheap(x)]
    if not names:
        return scalars
    stack = jax.lax.concatenate([jax.lax.reshape(scalars[k], (1,)) for k in names], 0)
    return scalars | dict(zip(names, apart(stack), strict=True))


def _is_cheap(x: Array) -> bool:
    """Tells whether x is a traced scalar of the hyperparameters' dtype."""
    traced = isinstance(x, jax.core.Tracer)
    return traced and not x.shape and x.dtype == hyper_dtype()


def _by_slices(stack: Array) -> tuple[Array, ...]:
    n, *shape = stack.shape
    # Vectors, such as a clock's, need nothing more: no operation for each.
    parts = jax.lax.split(stack.reshape(-1), (math.prod(shape),) * n)
    return tuple(jax.lax.reshape(x, shape) for x in parts)


def _by_reductions(stack: Array) -> tuple[Array, ...]:
    n, *shape = stack.shape
    if n <= FEW:
        return tuple(_sums(stack))
    # A slice of 32 would be fused into the reduction, whose kernel is then another for each.
    zero = np.zeros((), stack.dtype)
    filled = jax.lax.pad(stack, zero, [(0, -n % FEW, 0), *[(0, 0, 0)] * len(shape)])
    chunks = _by_reductions(filled.reshape(-1, FEW, *shape))
    return tuple(x for chunk in chunks for x in _sums(chunk))[:n]


# Jitted apart: traced once for all stacks of one shape.
@jax.jit
def _sums(stack: Array) -> list[Array]:
    """Adds -0 to each array, which leaves every number as it is.

    Over one array alone, XLA would see that there is nothing to reduce.
    """
    zero, n = -np.zeros((), stack.dtype), stack.shape[0]
    spread = jax.lax.pad(stack, zero, [(0, 1, 1)] + [(0, 0, 0)] * (stack.ndim - 1))
    pairs = jax.lax.split(spread, (2,) * n)
    return jax.lax.reduce(pairs, [zero] * len(pairs), _add, (0,))


def _add(xs: list[Array], ys: list[Array]) -> list[Array]:
    return [jax.lax.add(x, y) for x, y in zip(xs, ys, strict=True)]
