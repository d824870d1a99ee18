"""Checks of trees with holes, and of trees with nothing in them."""

from typing import Any

import jax

from ..core.protocol import PyTree
from .comparing import belongs, equal, flat, same_law
from .registry import conformance
from .subject import Subject

__all__ = ["check_empty_trees", "check_none_gradients", "check_none_parameters"]


def without_last(tree: PyTree) -> tuple[PyTree, str]:
    """The tree with None in the place of its last leaf, and that leaf's path."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(tree)
    return treedef.unflatten([*leaves[:-1], None]), list(flat(tree))[-1]


@conformance(
    "Go over leaves with jax.tree.map, for which None is a node without leaves.", eager=True
)
def check_none_parameters(subject: Subject) -> None:
    """Checks that a parameter may be None, with None as its gradient."""
    params, _ = without_last(subject.params())
    grads, path = without_last(subject.grads())
    state = subject.init(params)
    updates, after = subject.update(grads, state, params)
    assert path not in flat(updates), f"there is an update at '{path}', where params has None."
    same_law(grads, updates, "the tree of updates", "in the gradients", "after update")
    same_law(state, after, "the state", "after init", "after update")


@conformance(
    "Skip a leaf whose gradient is None: its update is None, and its state stays.", eager=True
)
def check_none_gradients(subject: Subject) -> None:
    """Checks that a parameter without a gradient rests, and its state with it."""
    params = subject.params()
    grads, path = without_last(subject.grads())
    state = subject.init(params)
    updates, after = subject.update(grads, state, params)
    assert path not in flat(updates), f"there is an update at '{path}', whose gradient is None."
    same_law(state, after, "the state", "after init", "after update")
    before, now = (
        {k: v for k, v in flat(tree).items() if belongs(k, path)} for tree in (state, after)
    )
    equal(before, now, "the state of a leaf without a gradient", "after update")


@conformance(
    "Let reductions over leaves start from a number, as in sum(leaves, start=0.0).", eager=True
)
def check_empty_trees(subject: Subject) -> None:
    """Checks that trees without leaves pass through."""
    empty: PyTree
    for empty in ({}, [], ()):
        state = subject.init(empty)
        updates, after = subject.update(empty, state, empty)
        assert updates == empty, f"the updates of {empty!r} are {updates!r}."
        same_law(state, after, "the state", "after init", "after update")
