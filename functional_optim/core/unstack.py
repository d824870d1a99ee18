"""Taking a matrix apart into its rows, in few kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["unstack"]

Array = jax.Array

_CHUNK = 32
"""Rows for one kernel: it reads all of them for each of its outputs."""


@jax.custom_jvp
def unstack(matrix: Array) -> tuple[Array, ...]:
    """The rows of a matrix `(n, k)`: n arrays `(k,)`.

    On CPU, XLA fuses the slice of a row into what reads it. With a row for each leaf, no two
    leaves then have the same kernel, and each is compiled: 7 times the time at 128 leaves of
    one shape. So there the rows are the many results of few reductions, which stay outside.
    """
    return jax.lax.platform_dependent(matrix, cpu=_by_reductions, default=_by_slices)


@unstack.defjvp
def _unstack_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (matrix,), (tangent,) = primals, tangents
    return unstack(matrix), _by_slices(tangent)


def _by_slices(matrix: Array) -> tuple[Array, ...]:
    return tuple(matrix[i] for i in range(matrix.shape[0]))


def _by_reductions(matrix: Array) -> tuple[Array, ...]:
    n, k = matrix.shape
    padded = jnp.zeros((-(-n // _CHUNK) * _CHUNK, k), matrix.dtype).at[:n].set(matrix)
    chunks = [padded[i : i + _CHUNK] for i in range(0, n, _CHUNK)]
    return tuple(row for chunk in chunks for row in _rows(chunk))[:n]


@jax.jit
def _rows(chunk: Array) -> list[Array]:
    """Each row as the sum over all rows of what is nonzero in it alone."""
    row = jax.lax.broadcasted_iota(np.int32, chunk.shape, 0)
    zero = jnp.zeros_like(chunk)
    alone = [
        jax.lax.select(jax.lax.eq(row, jnp.full_like(row, i)), chunk, zero) for i in range(_CHUNK)
    ]
    start = [np.zeros((), chunk.dtype)] * _CHUNK
    return jax.lax.reduce(alone, start, functools.partial(jax.tree.map, jax.lax.add), (0,))
