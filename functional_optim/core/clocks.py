"""Scalars of each leaf: a row of a matrix."""

import functools
from collections import defaultdict
from collections.abc import Sequence

import jax
import numpy as np

from .joining import FEW, apart

__all__ = ["Clocks", "one_row"]

Array = jax.Array
Group = tuple[int, ...]


class Clocks:
    """Scalars of each leaf, as a matrix `(n, k)`, whose rows are made when one is asked for."""

    def __init__(self, matrix: Array | None, groups: Sequence[Group] = ()):
        self.matrix = matrix
        self._groups = groups

    def row(self, i: int) -> Array | None:
        """Those of one leaf, `(k,)`."""
        return None if self.matrix is None else self._rows[i]

    def rows(self, group: Group) -> Array | None:
        """Those of a group of leaves, `(len(group), k)`."""
        return None if self.matrix is None else self._by_group[group]

    @functools.cached_property
    def _rows(self) -> tuple[Array, ...]:
        assert self.matrix is not None
        return apart(self.matrix)

    @functools.cached_property
    def _by_group(self) -> dict[Group, Array]:
        assert self.matrix is not None
        by_length: dict[int, list[Group]] = defaultdict(list)
        for group in self._groups:
            by_length[len(group)].append(group)
        found: dict[Group, Array] = {}
        for groups in by_length.values():
            matrices = apart(self.matrix[np.asarray(groups)])
            found |= dict(zip(groups, matrices, strict=True))
        return found


def one_row(matrix: Array, i: int) -> Array:
    """The row `i` of a matrix `(n, k)`: that of `Clocks`, in a program that has no other."""
    first = i - i % FEW
    chunk = jax.lax.slice_in_dim(matrix, first, min(first + FEW, matrix.shape[0]))
    return apart(chunk)[i - first]
