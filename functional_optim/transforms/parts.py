"""Restricts the extra arguments of `update` to a part of the parameters."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.trees.structure import find_leaves, is_absent

__all__ = ["extra_of_part"]

FUNCTIONS = ("value_fn", "obj_fn", "logits_fn")
"""Extra arguments that are functions, whose first argument is the parameters."""

GRADIENTS = ("grad_fn",)
"""Extra arguments that are functions of the parameters, and return a tree like them."""

TREES = ("grad",)
"""Extra arguments that are trees like the parameters, whatever the structure of both."""


def extra_of_part(
    extra: Mapping[str, object],
    treedef: Any,
    params: Sequence[PyTree] | None,
    updates: Sequence[PyTree],
    cut: Callable[[list[PyTree]], PyTree],
    whole: Callable[[PyTree], list[PyTree]] | None = None,
) -> dict[str, object]:
    """Converts extra arguments to the tree that an inner transformation sees.

    A tree with the structure and shapes of the parameters becomes a tree like the one that the
    inner transformation sees. A function of the parameters becomes a function of such a tree.

    Args:
      extra: the arguments.
      treedef: structure of all parameters.
      params: leaves of the parameters, if update got them.
      updates: leaves of the updates.
      cut: makes the tree that the inner transformation sees out of all leaves.
      whole: makes all leaves out of such a tree; by default the tree has some leaves in their
        places, and the parameters complete it.
    """
    reference = updates if params is None else params

    def restrict(name: str, x: object) -> object:
        if callable(x):
            if params is None or name not in (*FUNCTIONS, *GRADIENTS):
                return x
            merge = whole or functools.partial(_merge_part, treedef, params)
            return _restrict_function(x, treedef, merge, cut if name in GRADIENTS else None)
        leaves = find_leaves(treedef, x)
        is_tree = leaves is not None and (
            name in TREES or _has_shapes_of(leaves, reference, treedef)
        )
        return cut(leaves) if is_tree and leaves is not None else x

    return {name: restrict(name, x) for name, x in extra.items()}


def _has_shapes_of(leaves: Sequence[PyTree], reference: Sequence[PyTree], treedef: Any) -> bool:
    """Tells whether leaves have the shapes of a reference; False for a tree of one array.

    A single array of the right shape may have any other meaning.
    """
    pairs = [
        (x, p)
        for x, p in zip(leaves, reference, strict=True)
        if not is_absent(x) and not is_absent(p)
    ]
    is_leaf = jax.tree_util.treedef_is_leaf(treedef)
    return not is_leaf and bool(pairs) and all(jnp.shape(x) == jnp.shape(p) for x, p in pairs)


def _merge_part(treedef: Any, params: Sequence[PyTree], part: PyTree) -> list[PyTree]:
    """Returns the leaves of a part, with the parameters in the places that it does not have."""
    leaves = find_leaves(treedef, part)
    if leaves is None:
        raise ValueError(
            "a function of the parameters was called with a tree whose structure differs from the "
            "parameters'. Call it with a tree like the updates."
        )
    return [p if is_absent(x) else x for p, x in zip(params, leaves, strict=True)]


def _restrict_function(
    function: Callable[..., PyTree],
    treedef: Any,
    whole: Callable[[PyTree], list[PyTree]],
    cut: Callable[[list[PyTree]], PyTree] | None,
) -> Callable[..., PyTree]:
    """Makes a function of a part, which `whole` completes; `cut` restricts the returned tree."""

    @functools.wraps(function)  # its signature says which extra arguments it takes
    def of_part(part: PyTree, *args: object, **kwargs: object) -> PyTree:
        result = function(jax.tree.unflatten(treedef, whole(part)), *args, **kwargs)
        return result if cut is None else cut(treedef.flatten_up_to(result))

    return of_part
