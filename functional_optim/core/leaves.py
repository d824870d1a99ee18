"""The leaves of one update, lined up: gradients, slots, parameters."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .precision import compute_dtype, wider
from .protocol import NoSlot, PyTree
from .rows import check_rows, coalesced, is_sparse
from .state import State
from .trees import align, align_params, is_absent, is_placeholder, leaf_paths

__all__ = ["ENGINE_FIELDS", "Leaves", "all_slots"]

Slots = dict[str, jax.Array]

ENGINE_FIELDS = (
    "count",
    "steps",
    "hyperparams",
    "schedules",
    "groups",
    "keys",
    "memory",
    "scalars",
    "metrics",
)
"""Fields of a link's state that the engine keeps; the others are the rule's slots."""


class Leaves:
    """Lines up the updates with the slots of some links and with the parameters.

    Attributes:
      updates: per leaf, the update, or what stands for none; a sparse one with each row once.
      slots: per leaf, the slots of each link.
      params: per leaf, the parameter, or None.
      numbers: per leaf, its place in the tree, counted with those that are not there.
      active: indices of the leaves that have an update.
      dtypes: per leaf, the dtype that its update is to have: the gradient's or the
        parameter's, whichever holds more.
    """

    def __init__(self, link: str, updates: PyTree, states: Sequence[State], params: PyTree | None):
        self.link = link
        self.names = [[k for k in s._fields if k not in ENGINE_FIELDS] for s in states]
        trees = [(s, k) for s, names in zip(states, self.names, strict=True) for k in names]
        self.reference = _reference(states, self.names, updates, params)
        self.treedef: Any = jax.tree.structure(self.reference, is_leaf=is_sparse)
        self.numbers = _places(self.reference)
        self.updates = align(self.reference, updates, link=link, name="updates")
        n = len(self.updates)
        columns = iter(
            [align(self.reference, s[k], link=link, name=f"state.{k}") for s, k in trees]
        )
        by_link = [{k: next(columns) for k in names} for names in self.names]
        self.slots = [
            tuple({k: c[i] for k, c in d.items() if not is_absent(c[i])} for d in by_link)
            for i in range(n)
        ]
        if params is None:
            self.params = [None] * n
        else:
            self.params = align_params(self.reference, params, link=link)
        self.active = [i for i, g in enumerate(self.updates) if not is_absent(g)]
        self.dtypes = [self._check(i) if i in set(self.active) else None for i in range(n)]
        self.sparse = [i for i in self.active if is_sparse(self.updates[i])]
        for i in self.sparse:
            self.updates[i] = coalesced(self.updates[i], compute_dtype(self.dtypes[i]))

    def _check(self, i: int) -> Any:
        """Checks dtype and shape of an update, and gives the dtype it is to leave with."""
        g, p = self.updates[i], self.params[i]
        if is_sparse(g):
            check_rows(f"{self.link}: the update at '{self.path(i)}'", g)
        dtype = _dtype(g)
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"{self.link}: the update at '{self.path(i)}' has dtype {dtype}. "
                "Pass None for a leaf that is not trained."
            )
        if jnp.issubdtype(dtype, jnp.complexfloating):
            self._check_complex(i)
        if p is None or is_absent(p):
            return dtype
        if jnp.shape(p) != jnp.shape(g):
            raise ValueError(self._wrong_shape(i, f"the parameter has shape {jnp.shape(p)}"))
        return wider(dtype, _dtype(p))

    def _check_complex(self, i: int) -> None:
        known = [x for x in (self.params[i], *self._kept(i).values()) if not is_absent(x)]
        if known and not any(map(jnp.iscomplexobj, known)):
            raise TypeError(
                f"{self.link}: the update at '{self.path(i)}' is complex, and the parameter real. "
                "Pass the gradient of a real function of these parameters."
            )

    def _kept(self, i: int) -> Slots:
        """All slots of leaf `i`."""
        return {k: x for slots in self.slots[i] for k, x in slots.items()}

    def _wrong_shape(self, i: int, other: str) -> str:
        shape = jnp.shape(self.updates[i])
        return (
            f"{self.link}: the update at '{self.path(i)}' has shape {shape}, and {other}. "
            "Pass the gradient with respect to these parameters."
        )

    def column(self, tree: PyTree, name: str) -> list[Any]:
        """What another tree, shaped like the parameters, has at each leaf."""
        return align(self.reference, tree, link=self.link, name=name)

    def path(self, i: int) -> str:
        """Where leaf `i` is."""
        return leaf_paths(self.reference)[i]

    def put(self, i: int, update: jax.Array, slots: Sequence[Slots]) -> None:
        """Takes over what the rules made of leaf `i`."""
        if update.shape != jnp.shape(self.updates[i]):
            raise ValueError(self._wrong_shape(i, f"the rule makes {update.shape} of it"))
        for new, old in zip(slots, self.slots[i], strict=True):
            for k in old:
                if new[k].shape != old[k].shape:
                    raise ValueError(
                        self._wrong_shape(i, f"the state's {k} has shape {old[k].shape}")
                    )
        self.updates[i], self.slots[i] = update, tuple(slots)

    def explain(self, i: int, error: Exception) -> None:
        """Raises what an exception out of leaf `i` comes from, or notes on it which leaf it was."""
        shape = jnp.shape(self.updates[i])
        kept = {k: x.shape for k, x in self._kept(i).items()}
        shapes = set(kept.values())
        if len(shapes) == 1 and shape not in shapes and self.params[i] is None:
            name, known = next(iter(kept.items()))
            reason = f"the state's {name} has shape {known}"
            raise ValueError(self._wrong_shape(i, reason)) from error
        error.add_note(
            f"{self.link}: at the leaf '{self.path(i)}', whose update has shape {shape}."
        )

    def rebuild(self) -> tuple[PyTree, list[dict[str, PyTree]]]:
        """The tree of the updates, and for each link the trees of its slots."""
        slots = [
            {k: self.treedef.unflatten([s[j].get(k, NoSlot()) for s in self.slots]) for k in names}
            for j, names in enumerate(self.names)
        ]
        return self.treedef.unflatten(self.updates), slots


def _reference(
    states: Sequence[State], names: list[list[str]], updates: PyTree, params: PyTree | None
) -> PyTree:
    """A tree with a leaf for each parameter: slots, or what there is without any."""
    for state, own in zip(states, names, strict=True):
        if own:
            return all_slots(state, own)
    counted = any("steps" in state for state in states)
    grouped = any("groups" in state for state in states) and params is not None
    return params if counted or grouped else updates


def all_slots(state: State, names: list[str]) -> PyTree:
    """A slot that all parameters have, or all slots taken together."""
    first = state[names[0]]
    if len(jax.tree.leaves(first)) == state.steps.shape[-1]:
        return first
    return jax.tree.map(
        lambda *found: next((x for x in found if not is_absent(x)), found[0]),
        *(state[k] for k in names),
        is_leaf=is_placeholder,
    )


def _places(tree: PyTree) -> list[int]:
    """Numbers of the leaves that do not change where another has no gradient, or is masked."""
    flat = jax.tree.leaves(tree, is_leaf=lambda x: is_placeholder(x) or is_sparse(x))
    return [i for i, x in enumerate(flat) if not is_placeholder(x)]


def _dtype(x: Any) -> Any:
    """Dtype of an array, or of a Python number as an array."""
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)
