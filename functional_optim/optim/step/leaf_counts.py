"""The counts of a group's parameters: one for all until some parameter lacks a gradient."""

import dataclasses
import functools
from collections.abc import Hashable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from jax.typing import ArrayLike

from ...core.protocol import GradientTransformation, PyTree, TransformUpdateFn
from ...core.state import State, is_rule_state, nested_states
from ...transforms.leaf_counts import per_leaf_counts

__all__ = ["has_leaf_counts", "with_leaf_counts", "with_shared_counts"]


def has_leaf_counts(state: PyTree) -> bool:
    """Tells whether some rule's state counts the updates of each parameter."""
    return any("leaf_counts" in node for _, node in nested_states(state))


def with_leaf_counts(tx: GradientTransformation, params: PyTree, state: PyTree) -> PyTree:
    """Returns a state of `tx` with the counts that `per_leaf_counts(tx)` would have kept."""
    leaves, treedef = jax.tree.flatten(params)
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves)
    counting = _counting(_Structure(tx.update, treedef, shapes, jax.tree.structure(state), tx))
    return jax.tree.map(_add_counts, state, counting, is_leaf=is_rule_state)


@dataclasses.dataclass(frozen=True)
class _Structure:
    """All that determines the counts of a state: optimizers that differ in numbers share them.

    Attributes:
      update: the transformation's update.
      params: structure of the parameters.
      shapes: types of the parameters.
      state: structure of the state without the counts.
      tx: the transformation.
    """

    update: TransformUpdateFn
    params: PyTreeDef
    shapes: tuple[Hashable, ...]
    state: PyTreeDef
    tx: GradientTransformation = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=256)
def _counting(structure: _Structure) -> PyTree:
    """Returns the types of the state with counts, for which the init has to be traced."""
    params = jax.tree.unflatten(structure.params, structure.shapes)
    return jax.eval_shape(per_leaf_counts(structure.tx).init, params)


def with_shared_counts(state: State) -> State:
    """Returns a chain's state with one count for all, where all parameters have the same.

    Otherwise the state is returned unchanged.
    """
    counting = [node for _, node in nested_states(state) if "leaf_counts" in node]
    if not all(map(_has_equal_counts, counting)):
        return state
    return State(**{k: _remove_counts(v) for k, v in state._asdict().items()})


def _add_counts(old: PyTree, counting: PyTree) -> PyTree:
    if not is_rule_state(old) or "leaf_counts" not in counting:
        return old
    fields = dict(old._asdict())
    fields["leaf_counts"] = fields.get("leaf_counts", fields["count"])
    for k in ("leaf_counts", "carry"):
        if k in counting:
            fields[k] = jax.tree.map(_broadcast, fields[k], counting[k])
    return State(**{k: fields[k] for k in counting._fields})


def _broadcast(x: ArrayLike, like: jax.ShapeDtypeStruct) -> jax.Array:
    return jnp.broadcast_to(x, like.shape)


def _has_equal_counts(link: State) -> bool:
    """Tells whether all parameters have had the same number of updates."""
    vectors = [np.asarray(x) for x in jax.tree.leaves(link._asdict().get("carry", {}))]
    same = all(np.all(x == x[:1]) for x in vectors)
    return same and bool(np.all(np.asarray(link.leaf_counts) == int(link.count)))


def _remove_counts(link: State) -> State:
    if "leaf_counts" not in link:
        return link
    fields: Mapping[str, PyTree] = {k: v for k, v in link._asdict().items() if k != "leaf_counts"}
    if "carry" in link and "groups" not in link:
        fields = {**fields, "carry": {k: x[0] for k, x in link.carry.items()}}
    return State(**fields)
