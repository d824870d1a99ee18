"""Combines the results of microbatches: sums, means, concatenated rows, custom accumulators."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..core.numerics.precision import compute_dtype, real_dtype
from ..core.protocol import PyTree
from .batches import Layout, ungroup_rows

__all__ = ["AccumulationType", "Accumulator", "Fold", "aggregate", "build_fold"]

Array = jax.Array


class AccumulationType(enum.Enum):
    """The ways to combine the results of microbatches."""

    MEAN = enum.auto()
    """The mean; a microbatch of fewer rows has less weight."""
    SUM = enum.auto()
    """The sum."""
    RUNNING_MEAN = enum.auto()
    """The mean over the first `num_real_microbatches`, which are the only ones evaluated."""
    CONCAT = enum.auto()
    """All rows, in the order of the batch."""


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """A custom way to combine the results of microbatches.

    Attributes:
      init: `init(shapes)`, returns the carry before the first microbatch; `shapes` are the shapes
        of a result.
      update: `update(carry, result, index)`, returns the carry after the microbatch of that index.
      finalize: `finalize(carry)`, returns the combined result.
      aggregate: `aggregate(results)`, for `micro_vmap`: combines the stacked results of the rows of
        a microbatch to the result of the microbatch.
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[[PyTree, PyTree, Array], PyTree]
    finalize: Callable[[PyTree], PyTree]
    aggregate: Callable[[PyTree], PyTree]


class Fold(Protocol):
    """Combines results one after another, like the carry of a scan."""

    def start(self, shapes: PyTree) -> PyTree:
        """Returns the carry before the first microbatch."""

    def step(self, carry: PyTree, value: PyTree, index: Array) -> PyTree:
        """Adds the result of a full microbatch to the carry."""

    def end(self, carry: PyTree, like: PyTree, remainder: PyTree) -> PyTree:
        """Returns the combined result in the dtypes of `like`.

        `remainder` is the result of the last, smaller microbatch, or None.
        """


@dataclasses.dataclass(frozen=True)
class _Sum:
    """The sum, in at least float32, or in at least 32 bits for integers."""

    layout: Layout

    def start(self, like: jax.ShapeDtypeStruct) -> Array:
        return jnp.zeros_like(like, _sum_dtype(like.dtype))

    def step(self, carry: Array, value: Array, index: Array) -> Array:
        del index
        return carry + value.astype(carry.dtype)

    def end(self, carry: Array, like: jax.ShapeDtypeStruct, remainder: Array | None) -> Array:
        total = carry if remainder is None else carry + remainder.astype(carry.dtype)
        # A sum of integers keeps its wider dtype, in which it does not overflow.
        return total.astype(like.dtype) if jnp.issubdtype(like.dtype, jnp.inexact) else total


class _Mean(_Sum):
    """The mean, weighted by the number of rows."""

    def start(self, like: jax.ShapeDtypeStruct) -> Array:
        if not jnp.issubdtype(like.dtype, jnp.inexact):
            raise TypeError(
                f"microbatch: a result of dtype {like.dtype} has no mean. Use "
                "AccumulationType.SUM or CONCAT for it, or return floating-point numbers."
            )
        return super().start(like)

    def end(self, carry: Array, like: jax.ShapeDtypeStruct, remainder: Array | None) -> Array:
        weight = self.layout.remainder_weight
        total = carry if remainder is None else carry + weight * remainder.astype(carry.dtype)
        return (total / (self.layout.count + weight)).astype(like.dtype)


class _RunningMean(_Mean):
    """The mean of the results that were added, whose number may be traced."""

    def step(self, carry: Array, value: Array, index: Array) -> Array:
        # The count is real, also if the values are complex; strict promotion needs explicit casts.
        number = (jnp.asarray(index) + 1).astype(real_dtype(carry.dtype))
        return carry + (value.astype(carry.dtype) - carry) / number.astype(carry.dtype)

    def end(self, carry: Array, like: jax.ShapeDtypeStruct, remainder: Array | None) -> Array:
        if remainder is None:
            return carry.astype(like.dtype)
        weight = self.layout.remainder_weight
        share = weight / (self.layout.count + weight)
        return (carry + share * (remainder.astype(carry.dtype) - carry)).astype(like.dtype)


@dataclasses.dataclass(frozen=True)
class _Concat:
    """All rows, in the order of the batch."""

    layout: Layout

    def start(self, like: jax.ShapeDtypeStruct) -> Array:
        if not like.shape:
            raise ValueError(
                "microbatch: results without dimensions have no rows to concatenate. Use "
                "AccumulationType.SUM or MEAN for them."
            )
        # Repeat one result, because its type carries the sharding on a mesh of explicit axes.
        rows = jnp.zeros_like(like)
        return jnp.repeat(rows[None], self.layout.count, axis=0)

    def step(self, carry: Array, value: Array, index: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(carry, value, index, 0)

    def end(self, carry: Array, like: jax.ShapeDtypeStruct, remainder: Array | None) -> Array:
        del like
        rows = ungroup_rows(carry)
        return rows if remainder is None else jnp.concatenate([rows, remainder])


_RESULT_FOLDS: dict[AccumulationType, type[_Sum] | type[_Concat]] = {
    AccumulationType.SUM: _Sum,
    AccumulationType.MEAN: _Mean,
    AccumulationType.RUNNING_MEAN: _RunningMean,
    AccumulationType.CONCAT: _Concat,
}
_ROW_REDUCTIONS: dict[AccumulationType, Callable[[Array], Array]] = {
    AccumulationType.SUM: lambda x: jnp.sum(x, axis=0),
    AccumulationType.MEAN: lambda x: jnp.mean(x, axis=0),
    AccumulationType.RUNNING_MEAN: lambda x: jnp.mean(x, axis=0),
    AccumulationType.CONCAT: lambda x: x,
}


@dataclasses.dataclass(frozen=True)
class _EachArray:
    """Applies the same fold to each array of a result."""

    fold: _Sum | _Concat

    def start(self, shapes: PyTree) -> PyTree:
        return jax.tree.map(self.fold.start, shapes)

    def step(self, carry: PyTree, value: PyTree, index: Array) -> PyTree:
        return jax.tree.map(lambda c, v: self.fold.step(c, v, index), carry, value)

    def end(self, carry: PyTree, like: PyTree, remainder: PyTree) -> PyTree:
        if remainder is None:
            return jax.tree.map(lambda c, a: self.fold.end(c, a, None), carry, like)
        return jax.tree.map(self.fold.end, carry, like, remainder)


@dataclasses.dataclass(frozen=True)
class _Custom:
    """Calls the functions of an `Accumulator`."""

    accumulator: Accumulator

    def start(self, shapes: PyTree) -> PyTree:
        return self.accumulator.init(shapes)

    def step(self, carry: PyTree, value: PyTree, index: Array) -> PyTree:
        return self.accumulator.update(carry, value, index)

    def end(self, carry: PyTree, like: PyTree, remainder: PyTree) -> PyTree:
        del like
        if remainder is not None:
            raise ValueError(
                "microbatch: microbatch_size must divide the batch if an Accumulator is used, "
                "because its update does not get the size of the last microbatch."
            )
        return self.accumulator.finalize(carry)


@dataclasses.dataclass(frozen=True)
class _PrefixTree:
    """Applies the folds of a tree to the subtrees of the results; the tree is a prefix of them."""

    folds: PyTree

    def start(self, shapes: PyTree) -> PyTree:
        return jax.tree.map(lambda f, s: f.start(s), self.folds, shapes)

    def step(self, carry: PyTree, value: PyTree, index: Array) -> PyTree:
        return jax.tree.map(lambda f, c, v: f.step(c, v, index), self.folds, carry, value)

    def end(self, carry: PyTree, like: PyTree, remainder: PyTree) -> PyTree:
        if remainder is None:
            return jax.tree.map(lambda f, c, a: f.end(c, a, None), self.folds, carry, like)
        return jax.tree.map(lambda f, c, a, r: f.end(c, a, r), self.folds, carry, like, remainder)


def build_fold(accumulator: PyTree, layout: Layout) -> Fold:
    """Builds the fold of the results from a prefix tree of accumulators and types."""

    def build(kind: object) -> Fold:
        if isinstance(kind, Accumulator):
            return _Custom(kind)
        return _EachArray(_RESULT_FOLDS[_checked_type(kind)](layout))

    return _PrefixTree(jax.tree.map(build, accumulator))


def aggregate(accumulator: PyTree, results: PyTree) -> PyTree:
    """Combines the stacked results of a microbatch's rows into the result of the microbatch."""

    def combine(kind: object, rows: PyTree) -> PyTree:
        if isinstance(kind, Accumulator):
            return kind.aggregate(rows)
        return jax.tree.map(_ROW_REDUCTIONS[_checked_type(kind)], rows)

    return jax.tree.map(combine, accumulator, results)


def _checked_type(kind: object) -> AccumulationType:
    """Returns the type of accumulation.

    Raises:
      TypeError: kind is not an `AccumulationType`.
    """
    if not isinstance(kind, AccumulationType):
        raise TypeError(
            f"microbatch: accumulator must be an AccumulationType or an Accumulator, got {kind!r}, "
            "or a tree of them that is a prefix of the results."
        )
    return kind


def _sum_dtype(dtype: np.dtype) -> np.dtype:
    """Returns the dtype in which arrays of a dtype are summed."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return compute_dtype(dtype)
    return jax.eval_shape(jnp.sum, jax.ShapeDtypeStruct((), np.dtype(dtype))).dtype
