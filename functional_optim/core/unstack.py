"""Taking a matrix apart into its rows, in few kernels."""

import functools
from collections.abc import Callable

import jax
import numpy as np

__all__ = ["Clocks", "one_row", "unstack"]

Array = jax.Array

_CHUNK = 32
"""Rows for one kernel: it reads all of them for each of its outputs."""


class Clocks:
    """Scalars of each leaf, as a matrix `(n, k)`, whose rows are made when one is asked for."""

    def __init__(self, matrix: Array | None):
        self.matrix = matrix

    def row(self, i: int) -> Array | None:
        """Those of one leaf, `(k,)`."""
        return None if self.matrix is None else self._rows[i]

    def rows(self, group: tuple[int, ...]) -> Array | None:
        """Those of some leaves, `(len(group), k)`."""
        return None if self.matrix is None else self.matrix[np.asarray(group)]

    @functools.cached_property
    def _rows(self) -> tuple[Array, ...]:
        assert self.matrix is not None
        return unstack(self.matrix)


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
    return _by_chunks(_slices, matrix)


def _by_reductions(matrix: Array) -> tuple[Array, ...]:
    return _by_chunks(_sums, matrix)


def one_row(matrix: Array, i: int) -> Array:
    """The row `i` of a matrix `(n, k)`: one of `unstack`, in a program that has no other."""
    first = i - i % _CHUNK
    chunk = jax.lax.slice_in_dim(matrix, first, min(first + _CHUNK, matrix.shape[0]))
    return unstack(chunk)[i - first]


def _by_chunks(rows: Callable[[Array], list[Array]], matrix: Array) -> tuple[Array, ...]:
    n, k = matrix.shape
    missing = -n % _CHUNK
    padded = jax.lax.pad(matrix, np.zeros((), matrix.dtype), ((0, missing, 0), (0, 0, 0)))
    chunks = [jax.lax.slice(padded, (i, 0), (i + _CHUNK, k)) for i in range(0, n, _CHUNK)]
    return tuple(row for chunk in chunks for row in rows(chunk))[:n]


# Jitted apart: traced once for all chunks.
@jax.jit
def _slices(chunk: Array) -> list[Array]:
    """Each row, cut out."""
    return [jax.lax.squeeze(row, (0,)) for row in jax.lax.split(chunk, (1,) * _CHUNK)]


@jax.jit
def _sums(chunk: Array) -> list[Array]:
    """Each row as the sum over all rows of what is nonzero in it alone."""
    zero = np.zeros((), chunk.dtype)
    row = jax.lax.broadcasted_iota(np.int32, chunk.shape, 0)
    zeros = jax.lax.full_like(chunk, zero)
    alone = [
        jax.lax.select(jax.lax.eq(row, jax.lax.full_like(row, i)), chunk, zeros)
        for i in range(_CHUNK)
    ]
    add = functools.partial(jax.tree.map, jax.lax.add)
    return jax.lax.reduce(alone, [zero] * _CHUNK, add, (0,))
