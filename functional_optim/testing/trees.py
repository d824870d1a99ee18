"""Checks transformations on trees with missing leaves, and on empty trees."""

import dataclasses
from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.state import State, is_rule_state
from ..core.trees.structure import path_string
from ..transforms.leaf_counts import per_leaf_counts
from .case import Case
from .comparison import (
    assert_equal,
    assert_same_structure,
    avals_of,
    is_of_parameter,
    leaves_by_path,
)
from .registry import conformance

__all__ = ["check_empty_trees", "check_none_gradients", "check_none_parameters"]


def without_last(tree: PyTree) -> tuple[PyTree, str]:
    """Returns the tree with None in place of its last leaf, and the path of that leaf."""
    treedef: jax.tree_util.PyTreeDef
    leaves, treedef = jax.tree.flatten(tree)
    return treedef.unflatten([*leaves[:-1], None]), list(leaves_by_path(tree))[-1]


@conformance("Map over leaves with jax.tree.map, for which None is an empty node.", eager=True)
def check_none_parameters(case: Case) -> None:
    """Checks that a parameter may be None, with None as its gradient."""
    params, _ = without_last(case.params())
    grads, path = without_last(case.grads())
    state = case.init(params)
    updates, after = case.update(grads, state, params)
    assert path not in leaves_by_path(updates), (
        f"there is an update at '{path}', where params has None."
    )
    assert_same_structure(grads, updates, "the tree of updates", "in the gradients", "after update")
    assert_same_structure(state, after, "the state", "after init", "after update")


@conformance(
    "Skip a leaf whose gradient is None: its update is None, and its state stays.", eager=True
)
def check_none_gradients(case: Case) -> None:
    """Checks that an update does not change the state of a parameter without a gradient.

    The structure of the state does not change either, with one exception: at the first such update,
    rules of this package that count updates gain `leaf_counts`, a count for each parameter, and
    the scalars that they carry from step to step become vectors. A wrapper that only sometimes
    calls the wrapped transformation cannot allow that. If its error recommends `per_leaf_counts`,
    `per_leaf_counts(tx)` is checked instead.
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
    assert path not in leaves_by_path(updates), (
        f"there is an update at '{path}', whose gradient is None."
    )
    before, n = with_leaf_counts(state, after), len(jax.tree.leaves(params))
    assert_same_structure(before, after, "the state", "after init", "after update")
    old, new = (_last_leaf_state(tree, path, n) for tree in (before, after))
    assert_equal(old, new, "the state of a leaf without a gradient", "after update")
    assert_same_structure(after, later, "the state", "after update", "after another update")


def _two_updates(case: Case, grads: PyTree, params: PyTree) -> tuple[PyTree, ...]:
    """Returns the first state, the first updates, and the states after one and two updates."""
    state = case.init(params)
    updates, after = case.update(grads, state, params)
    return state, updates, after, case.update(grads, after, params)[1]


def with_leaf_counts(state: PyTree, after: PyTree) -> PyTree:
    """Returns the state with leaf counts for the links that have them in a later state."""
    avals = avals_of(after)

    def add(path: Sequence[Hashable], node: PyTree) -> PyTree:
        aval = avals.get(path_string([*path, jax.tree_util.GetAttrKey("leaf_counts")]))
        if not is_rule_state(node) or "leaf_counts" in node or aval is None:
            return node
        n = jax.tree.leaves(aval)[-1]  # the length of `leaf_counts`
        fields: dict[str, PyTree] = {}
        for k, x in node._asdict().items():
            fields[k] = x if k != "carry" else {c: _repeat_scalar(v, n) for c, v in x.items()}
            if k == "count":
                fields["leaf_counts"] = _repeat_scalar(x, n)
        return State(**fields)

    return jax.tree_util.tree_map_with_path(add, state, is_leaf=is_rule_state)


def _repeat_scalar(x: jax.Array, n: int) -> jax.Array:
    return x if x.ndim else jnp.full(n, x)


def _last_leaf_state(state: PyTree, path: str, n: int) -> dict[str, jax.Array]:
    """Returns the slots of the last of n parameters, and its elements of leaf scalars."""
    of_leaf = {k: v for k, v in leaves_by_path(state).items() if is_of_parameter(k, path)}
    for link_path, node in jax.tree_util.tree_flatten_with_path(state, is_leaf=is_rule_state)[0]:
        fields = ("leaf_counts", "carry") if is_rule_state(node) else ()
        for k, x in leaves_by_path({k: node[k] for k in fields if k in node}).items():
            if x.shape == (n,):  # otherwise a mask has removed parameters, maybe the last one
                of_leaf[f"{path_string(link_path)}.{k}"] = x[-1]
    return of_leaf


def _advice_for_empty_trees(error: Exception) -> str:
    """Returns the remedy: about reductions, if a reduction over no values raised the error."""
    if any(words in str(error) for words in ("empty", "at least one")):
        return "Let reductions over leaves start from a number, as in sum(leaves, start=0.0)."
    return "Let init and update map over a tree without leaves, as jax.tree.map does."


@conformance(_advice_for_empty_trees, eager=True)
def check_empty_trees(case: Case) -> None:
    """Checks that trees without leaves pass through."""
    empty: PyTree
    for empty in ({}, [], ()):
        state = case.init(empty)
        updates, after = case.update(empty, state, empty)
        assert updates == empty, f"the updates of {empty!r} are {updates!r}."
        assert_same_structure(state, after, "the state", "after init", "after update")
