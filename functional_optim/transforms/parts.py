"""Extra arguments of `update` as a transformation of a part of the parameters sees them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.trees.structure import find_leaves, is_absent

__all__ = ["extra_of_part"]

FUNCTIONS = ("value_fn", "obj_fn", "logits_fn")
"""Extra arguments that are functions of the parameters, first among their arguments."""

GRADIENTS = ("grad_fn",)
"""Those of these that return a tree like the parameters."""

TREES = ("grad",)
"""Extra arguments that are trees like the parameters, whatever these look like."""


def extra_of_part(
    extra: Mapping[str, Any],
    treedef: Any,
    params: Sequence[Any] | None,
    updates: Sequence[Any],
    cut: Callable[[list[Any]], PyTree],
    whole: Callable[[PyTree], list[Any]] | None = None,
) -> dict[str, Any]:
    """Turns extra arguments into those of the tree that an inner transformation sees.

    A tree with the structure and shapes of the parameters becomes such a tree. A function of the
    parameters becomes one of such a tree.

    Args:
      extra: the arguments.
      treedef: structure of all parameters.
      params: their leaves, if they are known.
      updates: leaves of the updates.
      cut: makes the tree that the inner transformation sees out of all leaves.
      whole: makes all leaves out of such a tree; by default it has a part of them in their places,
        and the parameters are the others.
    """
    known = updates if params is None else params

    def of_part(name: str, x: Any) -> Any:
        if callable(x):
            if params is None or name not in (*FUNCTIONS, *GRADIENTS):
                return x
            merge = whole or functools.partial(_merged, treedef, params)
            return _of_part(x, treedef, merge, cut if name in GRADIENTS else None)
        leaves = find_leaves(treedef, x)
        is_tree = leaves is not None and (name in TREES or _is_like(leaves, known, treedef))
        return cut(leaves) if is_tree and leaves is not None else x

    return {name: of_part(name, x) for name, x in extra.items()}


def _is_like(leaves: Sequence[Any], known: Sequence[Any], treedef: Any) -> bool:
    """Tells whether leaves have the parameters' shapes; a single array may be anything else."""
    pairs = [
        (x, p) for x, p in zip(leaves, known, strict=True) if not is_absent(x) and not is_absent(p)
    ]
    is_leaf = jax.tree_util.treedef_is_leaf(treedef)
    return not is_leaf and bool(pairs) and all(jnp.shape(x) == jnp.shape(p) for x, p in pairs)


def _merged(treedef: Any, params: Sequence[Any], part: PyTree) -> list[Any]:
    """All leaves: of a part, and of the parameters where it has none."""
    found = find_leaves(treedef, part)
    if found is None:
        raise ValueError(
            "a function of the parameters was called with a tree of another structure than the "
            "parameters have. Call it with a tree like those that update was given."
        )
    return [p if is_absent(x) else x for p, x in zip(params, found, strict=True)]


def _of_part(
    function: Callable[..., Any],
    treedef: Any,
    whole: Callable[[PyTree], list[Any]],
    cut: Callable[[list[Any]], PyTree] | None,
) -> Callable[..., Any]:
    """Returns the function of a part, which `whole` completes; `cut` cuts the returned tree."""

    @functools.wraps(function)  # its signature says which extra arguments it takes
    def of_part(part: PyTree, *args: Any, **kwargs: Any) -> Any:
        result = function(treedef.unflatten(whole(part)), *args, **kwargs)
        return result if cut is None else cut(treedef.flatten_up_to(result))

    return of_part
