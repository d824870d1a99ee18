"""What the maths of a rule reads besides arrays, the same for all leaves or a row for each."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .leaf import cast

__all__ = ["Columns", "Context", "Now"]

Array = jax.Array
Scalars = dict[str, Array]


class Now:
    """Scalars of this step and this leaf, by name, as a rule reads them.

    What the rule's clock, its `combine` and its `requires` give; without a clock `t`, the
    number of the leaf's updates with the present one (1, 2, ...), where the rule has slots;
    `leaf`, the number of the leaf (int32), to tell the random numbers of two apart; and where
    the rule requires `params`, `param_dtype`, which the parameter has outside.
    """

    def __init__(
        self,
        context: "Context",
        row: Array | None,
        own: Mapping[str, Any],
        dtype: Any,
        param_dtype: Any = None,
    ):
        self._context, self._row, self._own, self._dtype = context, row, own, dtype
        self.param_dtype = param_dtype

    def __getattr__(self, name: str) -> Any:
        context = self._context
        if name in context.whole:
            return cast(context.whole[name], self._dtype)
        if name in self._own:
            return cast(self._own[name], self._dtype)
        if name in context.columns.names:
            return cast(context.columns.read(name, self._row), self._dtype)
        known = sorted({*context.columns.names, *context.whole, *self._own})
        raise AttributeError(f"the rule declares no {name!r}; it has {known}.")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which column of a leaf's row has what: scalars of its clock, hyperparameters of its own."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    treedef: Any

    def read(self, name: str, row: Array | None) -> Any:
        """What the clock called `name`, for the leaf whose row this is."""
        assert row is not None
        return jax.tree.map(functools.partial(_item, row), self._places[0][name])

    def hyper(self, row: Array | None, dtype: Any) -> Scalars:
        """The hyperparameters of its own of the leaf whose row this is."""
        if row is None:
            return {}
        return {k: cast(_item(row, self._places[1][k]), dtype) for k in self.groups}

    @property
    def _places(self) -> Any:
        return self.treedef.unflatten(range(self.treedef.num_leaves))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["whole", "numbers"],
    meta_fields=["columns", "names"],
)
@dataclasses.dataclass(frozen=True)
class Context:
    """What a rule reads besides arrays, the same for all leaves.

    The hyperparameters travel as one vector: each argument more of a leaf's function costs
    time to trace and to lower, for every leaf.
    """

    columns: Columns
    whole: Scalars  # of the whole tree, and extra arguments: ()
    names: tuple[str, ...]
    numbers: Array | None  # the hyperparameters in force, by these names

    @classmethod
    def of(cls, columns: Columns, whole: Scalars, hyper: Scalars) -> "Context":
        """Packs the hyperparameters."""
        numbers = jnp.stack(list(hyper.values())) if hyper else None
        return cls(columns, whole, tuple(hyper), numbers)

    def hyper(self, dtype: Any) -> Scalars:
        """The hyperparameters by name, in the precision of the computation."""
        if self.numbers is None:
            return {}
        numbers = cast(self.numbers, dtype)
        return {k: _item(numbers, j) for j, k in enumerate(self.names)}


def _item(vector: Array, j: int) -> Array:
    """An element; by lax, which traces in a third of the time of indexing."""
    return jax.lax.squeeze(jax.lax.slice(vector, (j,), (j + 1,)), (0,))
