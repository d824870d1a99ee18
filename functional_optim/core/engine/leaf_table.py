"""Stage 1 of an update: updates, slots and parameters, aligned leaf by leaf and checked."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef

from ..leaf.packing import Group, Packed, as_tree
from ..leaf.quantized import QuantizedArray, with_decoded_shapes
from ..leaf.stacking import stack_arrays, unstack_array
from ..numerics.precision import compute_dtype, wider
from ..protocol import Arrays, NoSlot, PyTree
from ..rules.bound_rule import ENGINE_FIELDS
from ..trees.sparse_rows import check_rows, coalesced
from ..trees.structure import (
    align,
    align_params,
    find_leaves,
    in_containers_like,
    is_absent,
    is_placeholder,
    is_sparse,
    leaf_paths,
    without_containers,
)
from .stacks import equal_leaves, slot_tree, stack_slots, whole_stacks

__all__ = ["LeafTable", "all_slots"]

Array = jax.Array


class LeafTable:
    """The leaves of one update: for each its update, the slots of each rule, its parameter.

    Attributes:
      name: name of the first rule, for error messages.
      slot_trees: for each rule, the trees of its slots by name.
      updates: per leaf, the update, or a placeholder; a sparse one has each row once.
      slots: per leaf, the slots of each rule.
      params: per leaf, the parameter, or None.
      tree_indices: per leaf, its index in the tree, where placeholders are counted too.
      active: indices of the leaves that have an update.
      sparse: indices of the leaves that have a sparse update.
      dtypes: per leaf, the dtype of the new update: the wider one of gradient and parameter.
      stacks: groups of leaves that are stacked, and updated together.
      batches: groups of leaves that are updated in one call: the stacks, and `(i,)` for each
        other leaf with an update.
    """

    def __init__(
        self,
        name: str,
        updates: PyTree,
        fields: Sequence[Mapping[str, PyTree]],
        params: PyTree | None,
        *,
        by_params: bool = False,
        needs_params: bool = False,
        stack_leaves: bool = False,
    ):
        self.name = name
        self.slot_trees = [
            {k: x for k, x in state.items() if k not in ENGINE_FIELDS} for state in fields
        ]
        is_packed = any(isinstance(x, Packed) for trees in self.slot_trees for x in trees.values())
        plain_trees = self.slot_trees
        if is_packed:
            # Packed leaves are shapes here; `stack_slots` replaces those that it unstacks.
            plain_trees = [{k: as_tree(x) for k, x in trees.items()} for trees in plain_trees]
        self.reference, reference_name = self._reference(
            plain_trees, fields, updates, params, by_params
        )
        self._reference_name = reference_name
        self.treedef: PyTreeDef = jax.tree.structure(self.reference, is_leaf=is_sparse)
        leaves = find_leaves(self.treedef, updates)
        # The state may have containers that the updates lack, or the reverse: `nnx` removes them
        # from arguments of `update`, but not within a state that it does not flatten.
        self._updates_with_containers: PyTree = None
        if leaves is None:
            self._updates_with_containers = updates
            updates, params = without_containers(updates), without_containers(params)
            self.reference = without_containers(self.reference)
            self.treedef = jax.tree.structure(self.reference, is_leaf=is_sparse)
            leaves = align(
                self.reference, updates, link=name, name="updates", reference_name=reference_name
            )
        self.updates = leaves
        # Placeholders count, so that a leaf keeps its random numbers if another one is masked.
        places: PyTreeDef
        flat, places = jax.tree.flatten(
            self.reference, is_leaf=lambda x: is_placeholder(x) or is_sparse(x)
        )
        self.tree_indices = [i for i, x in enumerate(flat) if not is_placeholder(x)]
        n = len(self.tree_indices)
        self.params: list[Any] = [None] * n
        if params is not None:
            # Parameters may have leaves where the reference has placeholders.
            at_places = find_leaves(places, params)
            self.params = (
                align_params(self.reference, params, link=name, reference_name=reference_name)
                if at_places is None
                else [at_places[i] for i in self.tree_indices]
            )
        self._columns = [
            {k: self.column(x, f"state.{k}") for k, x in trees.items()} for trees in plain_trees
        ]
        self.active = [i for i in range(n) if not is_absent(self.updates[i])]
        self.dtypes: list[Any] = [None] * n  # dtypes of the active leaves
        self.sparse: list[int] = []
        for i in self.active:
            if needs_params and is_absent(self.params[i]):
                raise ValueError(
                    f"{name}: params has None at '{self.path(i)}', where there is an update. Pass "
                    "the parameter, or None as its update."
                )
            self.dtypes[i] = self._check_update(i)
            if is_sparse(self.updates[i]):
                self.sparse.append(i)
                # Rules that are not linear need the sum of the rows of an index.
                self.updates[i] = coalesced(self.updates[i], compute_dtype(self.dtypes[i]))
        self._slots_of_stacks: dict[Group, tuple[Arrays, ...]] = {}
        if is_packed or stack_leaves:
            groups = self._find_stacks(is_packed)
            self._slots_of_stacks = stack_slots(groups, self.slot_trees, self._columns)
        self.stacks = tuple(self._slots_of_stacks)
        stacked = {i for group in self.stacks for i in group}
        self.batches: list[Group] = [*self.stacks, *((i,) for i in self.active if i not in stacked)]
        self.slots = [self._slots_of(i) for i in range(n)]

    def _reference(
        self,
        plain_trees: Sequence[Mapping[str, PyTree]],
        fields: Sequence[Mapping[str, PyTree]],
        updates: PyTree,
        params: PyTree | None,
        by_params: bool,
    ) -> tuple[PyTree, str]:
        """Returns a tree with a leaf for each parameter: slots, or parameters, or updates.

        The updates are the last choice, because they may lack leaves. The text is what errors call
        the tree.
        """
        for trees in plain_trees:
            if trees:
                first = next(iter(trees.values()))
                leaves = jax.tree.leaves(first, is_leaf=_is_no_array)
                tree = all_slots(trees) if any(map(_is_no_array, leaves)) else first
                return tree, "the slots of the state"
        # These fields have an element for each parameter, also for one without an update.
        needs_all_leaves = by_params or any("leaf_counts" in s or "groups" in s for s in fields)
        if needs_all_leaves and params is not None:
            return params, "the parameters"
        if not needs_all_leaves:
            return updates, "the updates"
        flat = jax.tree.leaves(updates, is_leaf=lambda x: x is None or is_sparse(x))
        if any(x is None for x in flat):
            raise ValueError(
                f"{self.name}: update needs params where some update is None, because the state "
                "does not tell which leaves exist. Call update(updates, state, params)."
            )
        return updates, "the updates"

    def _check_update(self, i: int) -> np.dtype[Any]:
        """Checks dtype and shape of an update, and returns the dtype of the new update."""
        g, p = self.updates[i], self.params[i]
        dtype = getattr(g, "dtype", None)
        if is_sparse(g):
            check_rows(f"{self.name}: the update at '{self.path(i)}'", g)
        # Python numbers may be updates, as they may be parameters.
        if dtype is None and isinstance(g, (int, float, complex)):
            dtype = jnp.result_type(g)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            what = f"is of type {type(g).__name__}" if dtype is None else f"has dtype {dtype}"
            raise TypeError(
                f"{self.name}: the update at '{self.path(i)}' {what}. "
                "Pass None for a leaf that is not trained."
            )
        if jnp.issubdtype(dtype, jnp.complexfloating):
            self._check_complex(i)
        # An array of NumPy may have a dtype that JAX uses under x64 only.
        dtype = dtype if isinstance(g, jax.Array) else jax.dtypes.canonicalize_dtype(dtype)
        if p is None or is_absent(p):
            return dtype
        if jnp.shape(p) != jnp.shape(g):
            raise ValueError(self._wrong_shape(i, f"the parameter has shape {jnp.shape(p)}"))
        param_dtype = p.dtype if isinstance(p, jax.Array) else jnp.result_type(p)
        return dtype if dtype == param_dtype else wider(dtype, param_dtype)

    def _check_complex(self, i: int) -> None:
        arrays = [x for x in (self.params[i], *self._all_slots_of(i).values()) if not is_absent(x)]
        if arrays and not any(map(jnp.iscomplexobj, arrays)):
            raise TypeError(
                f"{self.name}: the update at '{self.path(i)}' is complex, and the parameter real. "
                "Pass the gradient of a real function of these parameters."
            )

    def _find_stacks(self, is_packed: bool) -> tuple[Group, ...]:
        """Returns groups of leaves that are updated together: packed leaves, or all of one kind."""
        kinds: dict[int, Hashable] = {
            i: (jnp.shape(g), jnp.result_type(g), _dtype_of(self.params[i]), self.dtypes[i])
            for i, g in enumerate(self.updates)
            if self.dtypes[i] is not None and i not in self.sparse
        }
        if is_packed:
            return whole_stacks(self.slot_trees, kinds)
        slots = {i: self._slots_of(i) for i in kinds}
        # Leaves with quantized slots are computed blockwise, and not stacked.
        return equal_leaves(
            {
                i: (kind, _types(self.updates[i]), _types(slots[i]))
                for i, kind in kinds.items()
                if not any(
                    isinstance(x, QuantizedArray) for by_name in slots[i] for x in by_name.values()
                )
            }
        )

    def _slots_of(self, i: int) -> tuple[Arrays, ...]:
        """Returns the slots that leaf `i` has, for each rule."""
        return tuple(
            {k: column[i] for k, column in columns.items() if hasattr(column[i], "dtype")}
            for columns in self._columns
        )

    def column(self, tree: PyTree, name: str) -> list[Any]:
        """Returns the leaves of another tree shaped like the parameters, aligned with the table."""
        leaves = find_leaves(self.treedef, tree)
        # Only trees that do not fit at once are compared with the reference, which is slower.
        if leaves is not None:
            return leaves
        where = self._reference_name
        return align(self.reference, tree, link=self.name, name=name, reference_name=where)

    def path(self, i: int) -> str:
        """Returns the path of leaf `i`."""
        return leaf_paths(self.reference)[i]

    def inputs(
        self, batch: Group, *, with_params: bool
    ) -> tuple[jax.Array, tuple[Arrays, ...], jax.Array | None]:
        """Returns update, slots and parameter of a batch; for a stack, with a new first axis."""
        if batch in self._slots_of_stacks:
            p = stack_arrays([jnp.asarray(self.params[i]) for i in batch]) if with_params else None
            u = stack_arrays([jnp.asarray(self.updates[i]) for i in batch])
            return u, self._slots_of_stacks[batch], p
        (i,) = batch
        return self.updates[i], self.slots[i], self.params[i] if with_params else None

    def put(self, batch: Group, update: jax.Array, slots: Sequence[Arrays]) -> None:
        """Replaces update and slots of a batch by the results of the rules."""
        i, is_stack = batch[0], batch in self._slots_of_stacks
        before = self._slots_of_stacks[batch] if is_stack else self.slots[i]
        shape = update.shape[1:] if is_stack else update.shape
        expected = jnp.shape(self.updates[i])
        if shape != expected:
            raise ValueError(self._wrong_result(i, "the update", shape, expected, before))
        for new, old in zip(slots, before, strict=True):
            for k, x in old.items():
                if new[k].shape != x.shape:
                    what = f"the slot {k!r}"
                    raise ValueError(self._wrong_result(i, what, new[k].shape, x.shape, before))
        if not is_stack:
            self.updates[i], self.slots[i] = update, tuple(slots)
            return
        self._slots_of_stacks[batch] = tuple(slots)
        for j, u in zip(batch, unstack_array(update), strict=True):
            self.updates[j] = u

    def _wrong_result(
        self,
        i: int,
        what: str,
        shape: tuple[int, ...],
        expected: tuple[int, ...],
        slots: Sequence[Arrays],
    ) -> str:
        """Returns the message for a result of another shape; the gradient may have caused it."""
        slot_shapes = {k: x.shape for by_name in slots for k, x in by_name.items() if jnp.ndim(x)}
        update_shape = jnp.shape(self.updates[i])
        if slot_shapes and update_shape not in slot_shapes.values():
            slot, slot_shape = next(iter(slot_shapes.items()))
            return self._wrong_shape(i, f"the state's {slot} has shape {slot_shape}")
        return (
            f"{self.name}: the maths returned {what} of shape {shape} at '{self.path(i)}', where "
            f"it must be {expected}. Return the update in the gradient's shape, and each slot in "
            "the shape in which `slots` makes it."
        )

    def explain(self, batch: Group, error: Exception) -> None:
        """Raises an error about the gradient if its shape is wrong; else adds the leaf's path."""
        i = batch[0]
        shape = jnp.shape(self.updates[i])
        slot_shapes = {k: x.shape for k, x in self._all_slots_of(i).items()}
        shapes = set(slot_shapes.values())
        # JAX raises these two for shapes that do not fit. If the update has the shape of its
        # parameter, an error of the rule is more likely, unless it is about shapes.
        is_about_shapes = self.params[i] is None or any(
            word in str(error) for word in ("shape", "dimensions")
        )
        may_be_shape = isinstance(error, TypeError | ValueError) and is_about_shapes
        if may_be_shape and len(shapes) == 1 and shape not in shapes:
            slot, slot_shape = next(iter(slot_shapes.items()))
            reason = f"the state's {slot} has shape {slot_shape}"
            raise ValueError(self._wrong_shape(i, reason)) from error
        error.add_note(
            f"{self.name}: at the leaf '{self.path(i)}', whose update has shape {shape}."
        )

    def _all_slots_of(self, i: int) -> Arrays:
        """Returns all slots of leaf `i`, by name."""
        return {k: x for slots in self._slots_of(i) for k, x in slots.items()}

    def _wrong_shape(self, i: int, difference: str) -> str:
        shape, p = jnp.shape(self.updates[i]), self.params[i]
        # The update fits the parameter, and so the state was made for others.
        is_state = p is not None and jnp.shape(p) == shape
        remedy = (
            "Call init with these parameters."
            if is_state
            else "Pass the gradient with respect to these parameters."
        )
        return (
            f"{self.name}: the update at '{self.path(i)}' has shape {shape}, and {difference}. "
            f"{remedy}"
        )

    def rebuild(self) -> tuple[PyTree, list[dict[str, PyTree]]]:
        """Returns the tree of the updates, and for each rule the trees of its slots."""
        new_trees: list[dict[str, PyTree]] = []
        for rule, trees in enumerate(self.slot_trees):
            new_trees.append({})
            for slot, old in trees.items():
                # A leaf without this slot has a node without leaves in its place.
                column = [slots[rule].get(slot, NoSlot()) for slots in self.slots]
                if self._slots_of_stacks or isinstance(old, Packed):
                    stacks = {
                        k: x[rule].get(slot, NoSlot()) for k, x in self._slots_of_stacks.items()
                    }
                    new_trees[rule][slot] = slot_tree(old, column, stacks, self.treedef)
                else:
                    new_trees[rule][slot] = self.treedef.unflatten(column)
        updates = self.treedef.unflatten(self.updates)
        if self._updates_with_containers is None:
            return updates, new_trees
        # Each tree gets the containers of the tree that it replaces.
        new_trees = [
            {k: in_containers_like(old[k], x) for k, x in new.items()}
            for old, new in zip(self.slot_trees, new_trees, strict=True)
        ]
        return in_containers_like(self._updates_with_containers, updates), new_trees


def all_slots(slot_trees: Mapping[str, PyTree]) -> PyTree:
    """Returns the first slot if all parameters have it, or else all slots merged.

    Quantized arrays are shapes and dtypes in the result. Packed slots must be trees already.
    """
    trees = map(with_decoded_shapes, slot_trees.values())
    first = next(trees)
    if not any(map(is_placeholder, jax.tree.leaves(first, is_leaf=is_placeholder))):
        return first
    return jax.tree.map(
        lambda *slots: next((x for x in slots if not is_absent(x)), slots[0]),
        first,
        *trees,
        is_leaf=is_placeholder,
    )


def _is_no_array(x: object) -> bool:
    """Tells whether x, a node of a slot, is in place of an array: a placeholder, or quantized."""
    return is_placeholder(x) or isinstance(x, QuantizedArray)


def _types(tree: PyTree) -> Hashable:
    """Returns shapes, dtypes and shardings of the arrays of a tree, which a stack must share."""
    leaves, treedef = jax.tree.flatten(tree)
    types: list[Any] = [jax.typeof(jnp.asarray(x)) for x in leaves]
    return treedef, tuple((x.shape, x.dtype, getattr(x, "sharding", None)) for x in types)


def _dtype_of(p: Any) -> np.dtype[Any] | None:
    return None if p is None or is_absent(p) else jnp.result_type(p)
