"""Averages of trees over time: what is averaged, and by which function."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import even_weights, fixed_weights, running_mean
from ..core.precision import compute_dtype
from ..core.protocol import PyTree
from ..core.trees import align, leaf_paths

__all__ = ["Average", "AveragedTree", "Each"]

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Average:
    """Takes a new array into an average, called as torch's `avg_fn`.

        averaged <- averaged + gain (current - averaged)

    with gain 1 - decay, or without a decay 1 / (num_averaged + 1): the mean of all. An
    object, and no closure, so that what holds it pickles.
    """

    decay: float | None = None

    def __post_init__(self) -> None:
        if self.decay is not None and not 0.0 <= self.decay <= 1.0:
            raise ValueError(
                f"Invalid decay value {self.decay} provided. Please provide a value in [0,1] range."
            )

    def __call__(self, averaged: Any, current: Any, num_averaged: Any) -> Array:
        """The average with one more array; both of one shape."""
        averaged, current = jnp.asarray(averaged), jnp.asarray(current)
        if jnp.iscomplexobj(averaged):
            parts = [(averaged.real, current.real), (averaged.imag, current.imag)]
            return jax.lax.complex(*(self(a, x, num_averaged) for a, x in parts))
        if self.decay is None:
            weights = even_weights(jnp.asarray(num_averaged).astype(averaged.dtype) + 1)
        else:
            weights = fixed_weights(self.decay)
        return running_mean(averaged, current, weights)


@dataclasses.dataclass(frozen=True)
class Each:
    """Takes lists of arrays one by one, called as torch's `multi_avg_fn`; returns a list."""

    average: Callable[[Any, Any, Any], Any]

    def __call__(self, averaged: Sequence[Any], current: Sequence[Any], num: Any) -> list[Any]:
        """The averages with one more array each."""
        return [self.average(a, x, num) for a, x in zip(averaged, current, strict=True)]


class AveragedTree:
    """A tree whose floating arrays are averages, kept in at least float32.

    Its other leaves are those of the last tree that it saw.

    Args:
      who: what errors call it.
      tree: the first tree, which is copied.
      device: where the average is kept; None for the place of each array.
    """

    def __init__(self, who: str, tree: PyTree, device: Any):
        leaves = jax.tree.leaves(tree)
        if leaves and not any(hasattr(x, "dtype") or isinstance(x, float) for x in leaves):
            raise TypeError(
                f"{who} needs a tree of arrays to average, got {type(leaves[0]).__name__}. Of an "
                "optimizer, pass its params."
            )
        self._who = who
        self._dtypes = [getattr(x, "dtype", None) for x in jax.tree.leaves(tree)]
        self.wide = jax.tree.map(_copied, tree)
        if device is not None:
            self.wide = jax.tree.map(
                lambda x: jax.device_put(x, device) if _is(x) else x, self.wide
            )

    @property
    def tree(self) -> PyTree:
        """The average, in the dtypes of the tree that is averaged."""
        leaves, treedef = jax.tree.flatten(self.wide)
        cast = [x.astype(d) if _is(x) else x for x, d in zip(leaves, self._dtypes, strict=True)]
        return jax.tree.unflatten(treedef, cast)

    @property
    def arrays(self) -> PyTree:
        """The arrays of the average; None in the place of other leaves."""
        return jax.tree.map(lambda x: x if hasattr(x, "dtype") else None, self.wide)

    def take(self, arrays: PyTree) -> None:
        """Takes over arrays in the form of `arrays`."""
        self.wide = jax.tree.map(
            lambda x, new: x if new is None else new,
            self.wide,
            arrays,
            is_leaf=lambda x: x is None,
        )

    def copy(self, tree: PyTree) -> None:
        """Takes over a tree as it is."""
        self._put(self._placed(tree))

    def average(self, tree: PyTree, function: Callable[..., Any], count: int) -> None:
        """Takes a tree into the average, the number `count` (from 0)."""
        old, new = jax.tree.leaves(self.wide), self._placed(tree)
        floating = [i for i, x in enumerate(old) if _is(x)]
        averaged, current = [old[i] for i in floating], [new[i] for i in floating]
        ours = isinstance(function, Each) and isinstance(function.average, Average)
        # A function of the user's may read what changes between calls, and is not compiled.
        call = _compiled if ours else _called
        found = call(function, averaged, current, count)
        if not isinstance(found, (list, tuple)) or len(found) != len(averaged):
            raise TypeError(
                f"{self._who}: multi_avg_fn must return the list of the {len(averaged)} averages, "
                f"got {type(found).__name__}. Arrays cannot be written into."
            )
        for i, x in zip(floating, found, strict=True):
            new[i] = jnp.asarray(x, old[i].dtype)
        self._put(new)

    def _placed(self, tree: PyTree) -> list[Any]:
        """The leaves of a tree beside those of the average: their dtypes, shapes and places."""
        found = align(
            self.wide, tree, link=self._who, name="the model", reference_name="the average"
        )
        old = jax.tree.leaves(self.wide)
        for path, a, x in zip(leaf_paths(self.wide), old, found, strict=True):
            if _is(a) and jnp.shape(x) != a.shape:
                raise ValueError(
                    f"{self._who}: the model has shape {jnp.shape(x)} at '{path}', and the "
                    f"average {a.shape}. Pass the model that is averaged."
                )
        return [
            jax.device_put(_copied(x), a.sharding) if _is(a) else x
            for a, x in zip(old, found, strict=True)
        ]

    def _put(self, leaves: list[Any]) -> None:
        self.wide = jax.tree.unflatten(jax.tree.structure(self.wide), leaves)


def _is(x: Any) -> bool:
    """Whether x is an array of numbers that have a mean."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)


def _copied(x: Any) -> Any:
    """A copy, for the optimizer's arrays do not outlive a step."""
    if not _is(x):
        return jnp.array(x, copy=True) if isinstance(x, jax.Array) else x
    return jnp.array(x, compute_dtype(x.dtype), copy=True)


def _called(function: Any, averaged: Any, current: Any, count: Any) -> Any:
    return function(averaged, current, count)


_compiled = jax.jit(_called, static_argnums=0)
