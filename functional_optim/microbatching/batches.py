"""Splits the rows of a batch into microbatches."""

import dataclasses
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.protocol import PyTree

__all__ = ["Layout", "cut", "reshape_batch_axis"]

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Layout:
    """The number and the sizes of the microbatches.

    Attributes:
      count: number of full microbatches.
      size: number of rows in each of these.
      remainder: number of rows in a last, smaller microbatch; 0 if there is none.
    """

    count: int
    size: int
    remainder: int

    @classmethod
    def of(cls, trees: Sequence[PyTree], axes: Sequence[int], size: int) -> "Layout":
        """Returns the layout of arguments whose arrays all have a batch axis of one length."""
        lengths = {
            jnp.shape(x)[axis]
            for tree, axis in zip(trees, axes, strict=True)
            for x in jax.tree.leaves(tree)
        }
        if len(lengths) != 1:
            raise ValueError(
                "microbatch: the arguments that argnums and argnames name must have batch axes of "
                f"one length, got {sorted(lengths)}. in_axes says which axes these are."
            )
        (batch,) = lengths
        size = min(size, batch or size)
        return cls(batch // size, size, batch % size)

    @property
    def remainder_weight(self) -> float:
        """Weight of the smaller microbatch in a mean, where full ones have weight 1."""
        return self.remainder / self.size


def checked_size(where: str, size: object) -> int:
    """Returns a number of rows, after checking that it is an integer of at least 1."""
    try:
        number = 0 if isinstance(size, bool) else operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(
            f"{where}: microbatch_size must be an integer of at least 1, got {size!r}. Pass None "
            "to evaluate the whole batch at once."
        )
    return number


def cut(tree: PyTree, axis: int, layout: Layout) -> tuple[PyTree, PyTree]:
    """Splits a batch into the full microbatches, stacked along a new axis 0, and the remainder."""

    def full(x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        whole = jax.lax.slice_in_dim(x, 0, layout.count * layout.size, axis=axis)
        return jnp.moveaxis(_group_rows(whole, layout.size, axis), axis, 0)

    def remainder(x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return jax.lax.slice_in_dim(x, layout.count * layout.size, x.shape[axis], axis=axis)

    return jax.tree.map(full, tree), jax.tree.map(remainder, tree)


def reshape_batch_axis(tree: PyTree, microbatch_size: int, axis: int = 0) -> PyTree:
    """Splits a batch axis into two, `(microbatches, microbatch_size)`.

    Row r is in microbatch r modulo the number of microbatches. If the batch is sharded, each device
    then has rows of every microbatch.

    Raises:
      ValueError: microbatch_size does not divide the length of the axis.

    Example:
      >>> reshape_batch_axis(jnp.arange(6), 3)
      Array([[0, 2, 4],
             [1, 3, 5]], dtype=int32)
    """
    size = checked_size("reshape_batch_axis", microbatch_size)

    def split(x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        if x.shape[axis] % size:
            raise ValueError(
                f"reshape_batch_axis: microbatch_size {size} must divide the length of axis "
                f"{axis}, got {x.shape[axis]}."
            )
        return _group_rows(x, size, axis % x.ndim)

    return jax.tree.map(split, tree)


def _group_rows(x: Array, size: int, axis: int) -> Array:
    # Neighboring rows go to different microbatches; see `reshape_batch_axis`.
    split = x.reshape(*x.shape[:axis], size, x.shape[axis] // size, *x.shape[axis + 1 :])
    return jnp.swapaxes(split, axis, axis + 1)


def ungroup_rows(x: Array) -> Array:
    """Restores the original order of rows `(microbatches, rows, ...)` that `cut` grouped."""
    return jnp.swapaxes(x, 0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])
