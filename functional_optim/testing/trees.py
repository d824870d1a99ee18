"""Checks of trees with missing leaves, and of empty trees."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.state import State
from ..core.trees.structure import path_string
from ..transforms.leaf_counts import per_leaf_counts
from .case import Case
from .comparison import avals_of, equal, flat, is_of_parameter, same_structure
from .registry import conformance

__all__ = ["check_empty_trees", "check_none_gradients", "check_none_parameters"]


def without_last(tree: PyTree) -> tuple[PyTree, str]:
    """Returns the tree with None in place of its last leaf, and the path of that leaf."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(tree)
    return treedef.unflatten([*leaves[:-1], None]), list(flat(tree))[-1]


@conformance("Map over leaves with jax.tree.map, for which None is an empty node.", eager=True)
def check_none_parameters(case: Case) -> None:
    """Checks that a parameter may be None, with None as its gradient."""
    params, _ = without_last(case.params())
    grads, path = without_last(case.grads())
    state = case.init(params)
    updates, after = case.update(grads, state, params)
    assert path not in flat(updates), f"there is an update at '{path}', where params has None."
    same_structure(grads, updates, "the tree of updates", "in the gradients", "after update")
    same_structure(state, after, "the state", "after init", "after update")


@conformance(
    "Skip a leaf whose gradient is None: its update is None, and its state stays.", eager=True
)
def check_none_gradients(case: Case) -> None:
    """Checks that the state of a parameter without a gradient stays.

    The structure of the state stays as well, with one exception: rules of this package that count
    updates get `leaf_counts`, one count for each parameter, and what they carry from step to step
    becomes one number for each parameter. That happens at the first such update; after it the
    structure stays. A wrapper that does not always call what it wraps cannot allow that; if it
    refuses the update and says so, `per_leaf_counts(tx)` is checked instead.
    """
    params = case.params()
    grads, path = without_last(case.grads())
    try:
        state, updates, after, later = _two_updates(case, grads, params)
    except ValueError as error:
        if "per_leaf_counts" not in str(error):
            raise
        counting = dataclasses.replace(case, tx=per_leaf_counts(case.tx))
        state, updates, after, later = _two_updates(counting, grads, params)
    assert path not in flat(updates), f"there is an update at '{path}', whose gradient is None."
    before, n = with_leaf_counts(state, after), len(jax.tree.leaves(params))
    same_structure(before, after, "the state", "after init", "after update")
    old, new = (_of_last(tree, path, n) for tree in (before, after))
    equal(old, new, "the state of a leaf without a gradient", "after update")
    same_structure(after, later, "the state", "after update", "after another update")


def _two_updates(case: Case, grads: PyTree, params: PyTree) -> tuple[PyTree, ...]:
    """Returns the first state, the first updates, and the states after one and two updates."""
    state = case.init(params)
    updates, after = case.update(grads, state, params)
    return state, updates, after, case.update(grads, after, params)[1]


def with_leaf_counts(state: PyTree, after: PyTree) -> PyTree:
    """Returns the state with a count of each parameter where a later state has them."""
    avals = avals_of(after)

    def add(path: Any, node: Any) -> Any:
        aval = avals.get(path_string([*path, jax.tree_util.GetAttrKey("leaf_counts")]))
        if not _is_link(node) or "leaf_counts" in node or aval is None:
            return node
        _, (*_, n) = aval
        fields: dict[str, Any] = {}
        for k, x in node._asdict().items():
            fields[k] = x if k != "carry" else {c: _repeated(v, n) for c, v in x.items()}
            if k == "count":
                fields["leaf_counts"] = _repeated(x, n)
        return State(**fields)

    return jax.tree_util.tree_map_with_path(add, state, is_leaf=_is_link)


def _repeated(x: Any, n: int) -> Any:
    return x if x.ndim else jnp.full(n, x)


def _is_link(x: Any) -> bool:
    """Tells whether x is the state of a rule of this package."""
    return isinstance(x, State) and {"count", "hyperparams"} <= set(x._fields)


def _of_last(state: PyTree, path: str, n: int) -> dict[str, Any]:
    """Returns the slots of the last of n parameters, and its numbers in vectors."""
    found = {k: v for k, v in flat(state).items() if is_of_parameter(k, path)}
    for where, node in jax.tree_util.tree_flatten_with_path(state, is_leaf=_is_link)[0]:
        fields = ("leaf_counts", "carry") if _is_link(node) else ()
        for k, x in flat({k: node[k] for k in fields if k in node}).items():
            if x.shape == (n,):  # otherwise a mask has left out parameters, perhaps the last
                found[f"{path_string(where)}.{k}"] = x[-1]
    return found


def _for_empty_trees(error: Exception) -> str:
    """What to do: reductions are named where one has failed, by what they say of nothing."""
    if any(words in str(error) for words in ("empty", "at least one")):
        return "Let reductions over leaves start from a number, as in sum(leaves, start=0.0)."
    return "Let init and update do with a tree without leaves what jax.tree.map does."


@conformance(_for_empty_trees, eager=True)
def check_empty_trees(case: Case) -> None:
    """Checks that trees without leaves pass through."""
    empty: PyTree
    for empty in ({}, [], ()):
        state = case.init(empty)
        updates, after = case.update(empty, state, empty)
        assert updates == empty, f"the updates of {empty!r} are {updates!r}."
        same_structure(state, after, "the state", "after init", "after update")
