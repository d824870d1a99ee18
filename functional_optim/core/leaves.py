"""The leaves of one update, lined up: gradients, slots, parameters."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .joining import apart, join
from .packing import Group, Packed, as_tree, is_packed
from .precision import compute_dtype, wider
from .protocol import NoSlot, PyTree
from .rows import check_rows, coalesced, is_sparse
from .state import State
from .stored import outlined
from .trees import align, align_params, is_absent, is_placeholder, leaf_paths

__all__ = ["ENGINE_FIELDS", "Leaves", "Run", "all_slots"]

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


Run = int | Group
"""What the maths is run on at once: one leaf, or leaves that are held together."""


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
      groups: those that are held together in the states, and can be updated so at this step.
      singles: those that have an update, and are not of a group.
    """

    def __init__(self, link: str, updates: PyTree, states: Sequence[State], params: PyTree | None):
        self.link = link
        self.names = [[k for k in s._fields if k not in ENGINE_FIELDS] for s in states]
        self.reference = _reference(states, self.names, updates, params)
        self.treedef: Any = jax.tree.structure(self.reference, is_leaf=is_sparse)
        self.numbers = _places(self.reference)
        self.updates = align(self.reference, updates, link=link, name="updates")
        n = len(self.updates)
        self._held = [{k: s[k] for k in own} for s, own in zip(states, self.names, strict=True)]
        self._columns = [
            {k: self.column(as_tree(x), f"state.{k}") for k, x in held.items()}
            for held in self._held
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
        self.groups = self._whole_groups()
        grouped = {i for group in self.groups for i in group}
        self.singles = [i for i in self.active if i not in grouped]
        self._unpack()
        self.slots = [self._by_link(i) for i in range(n)]
        self._stacks = {group: self._stacks_of(group) for group in self.groups}
        self._joined: dict[tuple[str, Group], Any] = {}

    def _whole_groups(self) -> tuple[Group, ...]:
        """Those leaves held together that have an update each, of one kind."""
        held = [x for own in self._held for x in own.values() if is_packed(x)]
        layouts = list(dict.fromkeys(x.layout for x in held))
        found = layouts[0].groups if layouts else ()
        for layout in layouts[1:]:
            found = tuple(set(found) & set(layout.groups))
        return tuple(sorted(group for group in found if self._of_one_kind(group)))

    def _of_one_kind(self, group: Group) -> bool:
        if not set(self.active).issuperset(group) or set(self.sparse) & set(group):
            return False
        return len({self._kind(i) for i in group}) == 1

    def _kind(self, i: int) -> Any:
        g, p = self.updates[i], self.params[i]
        of_p = None if p is None or is_absent(p) else _dtype(p)
        return jnp.shape(g), _dtype(g), of_p, self.dtypes[i]

    def _unpack(self) -> None:
        """Takes apart what is held together, and cannot be updated so."""
        for held, columns in zip(self._held, self._columns, strict=True):
            for k, x in held.items():
                if is_packed(x):
                    columns[k] = x.leaves(self.groups)

    def _by_link(self, i: int) -> tuple[Slots, ...]:
        return tuple(
            {k: c[i] for k, c in own.items() if not is_absent(c[i])} for own in self._columns
        )

    def _stacks_of(self, group: Group) -> tuple[Slots, ...]:
        """The slots of leaves that are updated together, along a new first axis."""

        def stack(x: Any, column: list[Any]) -> Any:
            return x.stack(group) if is_packed(x) else join([column[i] for i in group])

        return tuple(
            {k: stack(held[k], c) for k, c in columns.items() if not is_absent(c[group[0]])}
            for held, columns in zip(self._held, self._columns, strict=True)
        )

    def together(
        self, group: Group, *, with_params: bool
    ) -> tuple[jax.Array, tuple[Slots, ...], jax.Array | None]:
        """Update, slots and parameter of leaves held together, along a new first axis."""
        p = self._join("params", group) if with_params else None
        return self._join("updates", group), self._stacks[group], p

    def _join(self, field: str, group: Group) -> Any:
        """Updates or parameters of leaves that are held together; joined once."""
        if (field, group) not in self._joined:
            values = getattr(self, field)
            self._joined[field, group] = join([jnp.asarray(values[i]) for i in group])
        return self._joined[field, group]

    def _check(self, i: int) -> Any:
        """Checks dtype and shape of an update, and gives the dtype it is to leave with."""
        g, p = self.updates[i], self.params[i]
        if is_sparse(g):
            check_rows(f"{self.link}: the update at '{self.path(i)}'", g)
        dtype = _dtype(g) if hasattr(g, "dtype") or isinstance(g, (int, float, complex)) else None
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            what = f"is of type {type(g).__name__}" if dtype is None else f"has dtype {dtype}"
            raise TypeError(
                f"{self.link}: the update at '{self.path(i)}' {what}. "
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
        return {k: x for slots in self._by_link(i) for k, x in slots.items()}

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

    def put(self, run: Run, update: jax.Array, slots: Sequence[Slots]) -> None:
        """Takes over what the rules made of a leaf, or of leaves that are held together."""
        if isinstance(run, int):
            self._check_made(run, update.shape, slots, self.slots[run])
            self.updates[run], self.slots[run] = update, tuple(slots)
            return
        self._check_made(run[0], update.shape[1:], slots, self._stacks[run])
        self._stacks[run] = tuple(slots)
        for i, u in zip(run, apart(update), strict=True):
            self.updates[i] = u

    def _check_made(
        self, i: int, shape: tuple[int, ...], slots: Sequence[Slots], before: Sequence[Slots]
    ) -> None:
        if shape != jnp.shape(self.updates[i]):
            raise ValueError(self._wrong_shape(i, f"the rule makes {shape} of it"))
        for new, old in zip(slots, before, strict=True):
            for k in old:
                if new[k].shape != old[k].shape:
                    raise ValueError(
                        self._wrong_shape(i, f"the state's {k} has shape {old[k].shape}")
                    )

    def explain(self, run: Run, error: Exception) -> None:
        """Raises what an exception out of a leaf comes from, or notes on it which leaf it was."""
        i = run if isinstance(run, int) else run[0]
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
            {k: self._rebuilt(j, k, x) for k, x in held.items()}
            for j, held in enumerate(self._held)
        ]
        return self.treedef.unflatten(self.updates), slots

    def _rebuilt(self, j: int, k: str, held: Any) -> PyTree:
        """The slot `k` of link `j`, in the form in which it was held."""
        column = [s[j].get(k, NoSlot()) for s in self.slots]
        stacks = {group: slots[j].get(k, NoSlot()) for group, slots in self._stacks.items()}
        if is_packed(held):
            return Packed.of(held.layout, column, stacks)
        for group, stack in stacks.items():
            for i, x in zip(group, [] if is_absent(stack) else apart(stack), strict=False):
                column[i] = x
        return self.treedef.unflatten(column)


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
    state = State(steps=state.steps, **{k: outlined(as_tree(state[k])) for k in names})
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
