"""How the results of microbatches become one: sums, means, and rows put together."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..core.numerics.precision import compute_dtype
from ..core.protocol import PyTree
from .batches import Layout, ungrouped

__all__ = ["AccumulationType", "Accumulator", "Fold", "aggregate", "fold_of"]

Array = jax.Array


class AccumulationType(enum.Enum):
    """What becomes of the results of microbatches."""

    MEAN = enum.auto()
    """Their mean; one of fewer rows counts less."""
    SUM = enum.auto()
    """Their sum."""
    RUNNING_MEAN = enum.auto()
    """The mean of those that were evaluated, where `num_real_microbatches` says how many."""
    CONCAT = enum.auto()
    """Their rows, in the order of the batch."""


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """A way of one's own to make one result out of those of microbatches.

    Attributes:
      init: `init(shapes)`, the carry before the first, out of the shapes of a result.
      update: `update(carry, result, index)`, the carry after the microbatch of that number.
      finalize: `finalize(carry)`, what is returned.
      aggregate: `aggregate(results)`, for `micro_vmap`: the result of a microbatch out of those of
        its rows, stacked.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], Any]
    finalize: Callable[[Any], Any]
    aggregate: Callable[[Any], Any]


class Fold(Protocol):
    """One result out of many, taken in one by one."""

    def start(self, shapes: PyTree) -> PyTree:
        """Returns the carry before the first microbatch."""

    def step(self, carry: PyTree, value: PyTree, index: Array) -> PyTree:
        """Adds the result of a full microbatch to the carry."""

    def end(self, carry: PyTree, like: PyTree, rest: PyTree) -> PyTree:
        """Returns the result in the dtypes of `like`; `rest` is the smaller batch's, or None."""


@dataclasses.dataclass(frozen=True)
class _Sum:
    """The sum, taken in float32 or wider, of integers in at least 32 bits."""

    layout: Layout

    def start(self, like: jax.ShapeDtypeStruct) -> Array:
        return jnp.zeros_like(like, _sum_dtype(like.dtype))

    def step(self, carry: Array, value: Array, index: Any) -> Array:
        del index
        return carry + value.astype(carry.dtype)

    def end(self, carry: Array, like: jax.ShapeDtypeStruct, rest: Array | None) -> Array:
        total = carry if rest is None else carry + rest.astype(carry.dtype)
        return total.astype(like.dtype) if jnp.issubdtype(like.dtype, jnp.inexact) else total


class _Mean(_Sum):
    """The mean of all."""

    def start(self, like: jax.ShapeDtypeStruct) -> Array:
        if not jnp.issubdtype(like.dtype, jnp.inexact):
            raise TypeError(
                f"microbatch: a mean was asked for of a result of dtype {like.dtype}. Use "
                "AccumulationType.SUM or CONCAT for it, or return floating-point numbers."
            )
        return super().start(like)

    def end(self, carry: Array, like: jax.ShapeDtypeStruct, rest: Array | None) -> Array:
        total = carry if rest is None else carry + self.layout.part * rest.astype(carry.dtype)
        return (total / (self.layout.count + self.layout.part)).astype(like.dtype)


class _RunningMean(_Mean):
    """The mean of those that were taken in."""

    def step(self, carry: Array, value: Array, index: Any) -> Array:
        number = (jnp.asarray(index) + 1).astype(jnp.finfo(carry.dtype).dtype)
        return carry + (value.astype(carry.dtype) - carry) / number.astype(carry.dtype)

    def end(self, carry: Array, like: jax.ShapeDtypeStruct, rest: Array | None) -> Array:
        if rest is None:
            return carry.astype(like.dtype)
        part = self.layout.part / (self.layout.count + self.layout.part)
        return (carry + part * (rest.astype(carry.dtype) - carry)).astype(like.dtype)


@dataclasses.dataclass(frozen=True)
class _Concat:
    """All rows."""

    layout: Layout

    def start(self, like: jax.ShapeDtypeStruct) -> Array:
        if not like.shape:
            raise ValueError(
                "microbatch: rows cannot be put together of a result without dimensions. Use "
                "AccumulationType.SUM or MEAN for it."
            )
        # Out of one result, for its sharding is part of its type on a mesh of explicit axes.
        rows = jnp.zeros_like(like)
        return jnp.repeat(rows[None], self.layout.count, axis=0)

    def step(self, carry: Array, value: Array, index: Any) -> Array:
        return jax.lax.dynamic_update_index_in_dim(carry, value, index, 0)

    def end(self, carry: Array, like: jax.ShapeDtypeStruct, rest: Array | None) -> Array:
        del like
        rows = ungrouped(carry)
        return rows if rest is None else jnp.concatenate([rows, rest])


KINDS = {
    AccumulationType.SUM: _Sum,
    AccumulationType.MEAN: _Mean,
    AccumulationType.RUNNING_MEAN: _RunningMean,
    AccumulationType.CONCAT: _Concat,
}
OF_ROWS: dict[AccumulationType, Callable[[Array], Array]] = {
    AccumulationType.SUM: lambda x: jnp.sum(x, axis=0),
    AccumulationType.MEAN: lambda x: jnp.mean(x, axis=0),
    AccumulationType.RUNNING_MEAN: lambda x: jnp.mean(x, axis=0),
    AccumulationType.CONCAT: lambda x: x,
}


@dataclasses.dataclass(frozen=True)
class _OfEach:
    """A kind, for each array of a tree."""

    kind: Any

    def start(self, shapes: PyTree) -> PyTree:
        return jax.tree.map(self.kind.start, shapes)

    def step(self, carry: PyTree, value: PyTree, index: Any) -> PyTree:
        return jax.tree.map(lambda c, v: self.kind.step(c, v, index), carry, value)

    def end(self, carry: PyTree, like: PyTree, rest: PyTree) -> PyTree:
        if rest is None:
            return jax.tree.map(lambda c, a: self.kind.end(c, a, None), carry, like)
        return jax.tree.map(self.kind.end, carry, like, rest)


@dataclasses.dataclass(frozen=True)
class _Own:
    """The user's."""

    accumulator: Accumulator

    def start(self, shapes: PyTree) -> PyTree:
        return self.accumulator.init(shapes)

    def step(self, carry: PyTree, value: PyTree, index: Any) -> PyTree:
        return self.accumulator.update(carry, value, index)

    def end(self, carry: PyTree, like: PyTree, rest: PyTree) -> PyTree:
        del like
        if rest is not None:
            raise ValueError(
                "microbatch: microbatch_size must divide the batch where an Accumulator is used, "
                "which does not know that the last microbatch is smaller."
            )
        return self.accumulator.finalize(carry)


@dataclasses.dataclass(frozen=True)
class _OfPrefix:
    """Accumulators for parts of the results: a tree of which the results are of the form."""

    folds: PyTree

    def start(self, shapes: PyTree) -> PyTree:
        return jax.tree.map(lambda f, s: f.start(s), self.folds, shapes)

    def step(self, carry: PyTree, value: PyTree, index: Any) -> PyTree:
        return jax.tree.map(lambda f, c, v: f.step(c, v, index), self.folds, carry, value)

    def end(self, carry: PyTree, like: PyTree, rest: PyTree) -> PyTree:
        if rest is None:
            return jax.tree.map(lambda f, c, a: f.end(c, a, None), self.folds, carry, like)
        return jax.tree.map(lambda f, c, a, r: f.end(c, a, r), self.folds, carry, like, rest)


def fold_of(accumulator: PyTree, layout: Layout) -> Fold:
    """Builds the accumulator of results from a prefix tree of accumulators and types."""

    def one(kind: Any) -> Any:
        return _Own(kind) if isinstance(kind, Accumulator) else _OfEach(_known(kind)(layout))

    return _OfPrefix(jax.tree.map(one, accumulator))


def aggregate(accumulator: PyTree, results: PyTree) -> PyTree:
    """Combines the stacked results of a microbatch's rows into the result of the microbatch."""

    def one(kind: Any, rows: PyTree) -> PyTree:
        if isinstance(kind, Accumulator):
            return kind.aggregate(rows)
        _known(kind)
        return jax.tree.map(OF_ROWS[kind], rows)

    return jax.tree.map(one, accumulator, results)


def _known(kind: Any) -> Any:
    if not isinstance(kind, AccumulationType):
        raise TypeError(
            f"microbatch: accumulator must be an AccumulationType or an Accumulator, got {kind!r}, "
            "or a tree of them of which the results are of the form."
        )
    return KINDS[kind]


def _sum_dtype(dtype: Any) -> Any:
    if jnp.issubdtype(dtype, jnp.inexact):
        return compute_dtype(dtype)
    return jax.eval_shape(jnp.sum, jax.ShapeDtypeStruct((), np.dtype(dtype))).dtype
