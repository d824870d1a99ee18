"""Averages of trees over time: the averaged tree, and the functions that average."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..core.numerics.moments import interpolate
from ..core.numerics.precision import compute_dtype
from ..core.protocol import PyTree
from ..core.trees.structure import align, is_absent, leaf_paths

__all__ = ["Average", "AveragedTree", "AvgFn", "Each", "MultiAvgFn", "Placement"]

Array = jax.Array

AvgFn = Callable[[Array, Array, ArrayLike], ArrayLike]
"""`avg_fn(averaged, current, num_averaged)` of two arrays."""

MultiAvgFn = Callable[[list[Array], list[Array], ArrayLike], Sequence[ArrayLike]]
"""`multi_avg_fn(averaged, current, num_averaged)` of two lists of arrays; returns a list."""

Placement: TypeAlias = jax.Device | jax.sharding.Sharding
"""The device, or the devices, of an array."""


@dataclasses.dataclass(frozen=True)
class Average:
    """Averages one more array, called as torch's `avg_fn`.

        averaged <- averaged + gain (current - averaged)

    The gain is 1 - decay, or without a decay 1 / (num_averaged + 1), which gives the mean of all.
    A dataclass rather than a closure, so that an `AveragedModel` pickles.
    """

    decay: float | None = None

    def __post_init__(self) -> None:
        if self.decay is not None and not 0.0 <= self.decay <= 1.0:
            raise ValueError(
                f"Invalid decay value {self.decay} provided. Please provide a value in [0,1] range."
            )

    def __call__(self, averaged: ArrayLike, current: ArrayLike, num_averaged: ArrayLike) -> Array:
        """Returns the average with one more array of the same shape."""
        averaged, current = jnp.asarray(averaged), jnp.asarray(current)
        if jnp.iscomplexobj(averaged):
            parts = [(averaged.real, current.real), (averaged.imag, current.imag)]
            return jax.lax.complex(*(self(a, x, num_averaged) for a, x in parts))
        if self.decay is None:
            gain = 1 / (jnp.asarray(num_averaged).astype(averaged.dtype) + 1)
        else:
            gain = jnp.asarray(1 - self.decay, averaged.dtype)
        return interpolate(averaged, current, gain)


@dataclasses.dataclass(frozen=True)
class Each:
    """Averages lists of arrays one by one, called as torch's `multi_avg_fn`."""

    average: AvgFn

    def __call__(
        self, averaged: Sequence[Array], current: Sequence[Array], num: ArrayLike
    ) -> list[ArrayLike]:
        """Returns the averages with one more array each."""
        return [self.average(a, x, num) for a, x in zip(averaged, current, strict=True)]


class AveragedTree:
    """A tree whose floating arrays are averages, kept in at least float32.

    Its other leaves are the leaves of the tree that was averaged last.

    Args:
      owner: name of the average, for errors.
      tree: the first tree, which is copied.
      device: device or sharding of the average; None for the sharding of each array.
    """

    def __init__(self, owner: str, tree: PyTree, device: Placement | None):
        leaves = jax.tree.leaves(tree)
        if leaves and not any(hasattr(x, "dtype") or isinstance(x, float) for x in leaves):
            raise TypeError(
                f"{owner} needs a tree of arrays to average, got {type(leaves[0]).__name__}. For "
                "an optimizer, pass its params."
            )
        self._owner = owner
        self._dtypes = [getattr(x, "dtype", None) for x in jax.tree.leaves(tree)]
        self.wide = jax.tree.map(_copy, tree)
        if device is not None:
            self.wide = jax.tree.map(
                lambda x: jax.device_put(x, device) if _has_mean(x) else x, self.wide
            )

    @property
    def tree(self) -> PyTree:
        """The average, in the dtypes of the tree that is averaged."""
        leaves, treedef = jax.tree.flatten(self.wide)
        cast = [
            x.astype(d) if _has_mean(x) else x for x, d in zip(leaves, self._dtypes, strict=True)
        ]
        return jax.tree.unflatten(treedef, cast)

    @property
    def arrays(self) -> PyTree:
        """The arrays of the average; None in the place of other leaves."""
        return jax.tree.map(lambda x: x if hasattr(x, "dtype") else None, self.wide)

    def replace(self, arrays: PyTree) -> None:
        """Replaces the arrays of the average by the arrays of a tree like `arrays`."""
        self.wide = jax.tree.map(
            lambda x, new: x if new is None else new,
            self.wide,
            arrays,
            is_leaf=lambda x: x is None,
        )

    def copy(self, tree: PyTree) -> None:
        """Replaces the average by a tree."""
        self._put(self._aligned(tree))

    def average(self, tree: PyTree, function: MultiAvgFn, count: int) -> None:
        """Averages one more tree, after `count` others."""
        old, new = jax.tree.leaves(self.wide), self._aligned(tree)
        floating = [i for i, x in enumerate(old) if _has_mean(x)]
        averaged, current = [old[i] for i in floating], [new[i] for i in floating]
        is_built_in = isinstance(function, Each) and isinstance(function.average, Average)
        # A function of the user may read values that change between calls, so it is not compiled.
        call = _call_compiled if is_built_in else _call_average
        averages = call(function, averaged, current, count)
        if not isinstance(averages, (list, tuple)) or len(averages) != len(averaged):
            raise TypeError(
                f"{self._owner}: multi_avg_fn must return the list of the {len(averaged)} "
                f"averages, got {type(averages).__name__}. Arrays cannot be written into."
            )
        # The average keeps its dtype, whatever the function returns.
        for i, x in zip(floating, averages, strict=True):
            new[i] = jnp.asarray(x, old[i].dtype)
        self._put(new)

    def _aligned(self, tree: PyTree) -> list[PyTree]:
        """Returns the leaves of a tree, with the dtypes and shardings of the average."""
        leaves = align(
            self.wide, tree, link=self._owner, name="the model", reference_name="the average"
        )
        old = jax.tree.leaves(self.wide)
        for path, a, x in zip(leaf_paths(self.wide), old, leaves, strict=True):
            if _has_mean(a) and is_absent(x):
                raise ValueError(f"{self._owner}: the model has no leaf at '{path}'.")
            if _has_mean(a) and np.shape(x) != a.shape:
                raise ValueError(
                    f"{self._owner}: the model has shape {np.shape(x)} at '{path}', and the "
                    f"average {a.shape}. Pass the model that is averaged."
                )
        return [
            jax.device_put(_copy(x), a.sharding) if _has_mean(a) else x
            for a, x in zip(old, leaves, strict=True)
        ]

    def _put(self, leaves: list[PyTree]) -> None:
        self.wide = jax.tree.unflatten(jax.tree.structure(self.wide), leaves)


def _has_mean(x: PyTree) -> bool:
    """Tells whether x is an array of floating or complex numbers."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)


def _copy(x: PyTree) -> PyTree:
    """Copies an array, because a step deletes the arrays of an optimizer."""
    if not _has_mean(x):
        return jnp.array(x, copy=True) if isinstance(x, jax.Array) else x
    return jnp.array(x, compute_dtype(x.dtype), copy=True)


def _call_average(
    function: MultiAvgFn, averaged: list[Array], current: list[Array], count: ArrayLike
) -> Sequence[ArrayLike]:
    return function(averaged, current, count)


_call_compiled = jax.jit(_call_average, static_argnums=0)
