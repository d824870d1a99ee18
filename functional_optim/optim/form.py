"""The form in which a step takes a state: as few arrays as it can be."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from ..core.packing import SMALL, is_packed, packed_like, unpacked
from ..core.protocol import GradientTransformation, PyTree
from ..transforms.packing import packing
from .ledger import NO_LEDGER, Arrays, Ledger

__all__ = ["Form"]


@dataclasses.dataclass(frozen=True)
class Form:
    """How the leaves of a state go through a step.

    Each array that a step takes costs it time. Slots of small parameters are held together, as
    `packed` does it, and counts, clocks and numbers are one array.

    Attributes:
      plain: structure of the state.
      taken: structure of the state as a step takes it.
      ledger: of the leaves of that.
    """

    plain: Any
    taken: Any
    ledger: Ledger = NO_LEDGER

    @classmethod
    def as_it_is(cls, treedef: Any) -> "Form":
        """The form in which each leaf of a state goes by itself."""
        return cls(treedef, treedef)

    @classmethod
    def of(cls, tx: GradientTransformation, params: PyTree, state: PyTree) -> "Form":
        """The form of a state; the plain one where arrays are traced, or on several devices."""
        plain = jax.tree.structure(state)
        if not _at_one_place(jax.tree.leaves((params, state))):
            return cls.as_it_is(plain)
        taken = _held_together(tx, params, state)
        many = len(jax.tree.leaves(params, is_leaf=lambda x: x is None))
        return cls(plain, jax.tree.structure(taken), Ledger.of(taken, many))

    def state(self, arrays: Sequence[Any]) -> PyTree:
        """The state that a transformation is given, out of the arrays that a step is given."""
        return self.taken.unflatten(self.ledger.open(arrays))

    def arrays(self, state: PyTree) -> Arrays:
        """The reverse of `state`."""
        return self.ledger.close(jax.tree.leaves(state))

    def open(self, arrays: Sequence[Any]) -> Arrays:
        """The leaves of the state."""
        state = self.state(arrays)
        return jax.tree.leaves(state if self.taken == self.plain else unpacked(state))

    def close(self, leaves: Sequence[Any]) -> Arrays:
        """What a step takes of these leaves of the state."""
        if self.taken == self.plain:
            return self.ledger.close(leaves)
        return self.arrays(packed_like(self._template, self.plain.unflatten(leaves)))

    @functools.cached_property
    def entry(self) -> Mapping[int, int]:
        """Position among the leaves of the state -> that among the taken, for the ledger's."""
        numbers = self.plain.unflatten(range(self.plain.num_leaves))

        def place(own: Any, number: Any) -> Any:
            # Options are no slots: what is held together needs no position here.
            return jax.tree.map(lambda _: -1, own) if is_packed(own) else number

        placed = jax.tree.map(place, self._template, numbers, is_leaf=is_packed)
        found = jax.tree.leaves(placed)
        return {found[i]: i for i in self.ledger.places if found[i] >= 0}

    @property
    def _template(self) -> PyTree:
        return self.taken.unflatten(range(self.taken.num_leaves))


def _at_one_place(arrays: Sequence[Any]) -> bool:
    """Whether arrays are on one device, and in one of its memories; not where one is traced."""
    if any(isinstance(x, jax.core.Tracer) for x in arrays):
        return False
    shardings = [x.sharding for x in arrays if isinstance(x, jax.Array)]
    return len({(d, s.memory_kind) for s in shardings for d in s.device_set}) <= 1


def _held_together(tx: GradientTransformation, params: PyTree, state: PyTree) -> PyTree:
    """The state, with types in the place of slots that are held together, where some are."""
    init, found = packing(tx.init, SMALL)
    if not found:
        return state
    try:
        template = jax.eval_shape(init, params)
    except Exception:  # of another library, and not to be traced: it has worked as it is
        return state
    if _types(unpacked(template)) != _types(state):
        return state
    return jax.tree.map(lambda t, x: t if is_packed(t) else x, template, state, is_leaf=is_packed)


def _types(tree: PyTree) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [(x.shape, x.dtype) for x in leaves]
