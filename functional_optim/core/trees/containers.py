"""Containers of one array, such as a `Param` of nnx or a `Partitioned` of linen.

They stand in a tree where an array would, and say what it is for. What is done with a parameter
does not depend on them: its path ends before its container, labels and masks may have it or not,
and a state whose containers are others, or are gone, fits the parameters all the same.
"""

import functools
from typing import Any

import jax

from ..protocol import PyTree
from .sparse_rows import is_sparse

__all__ = ["bare", "content", "in_containers_of", "is_container"]


def is_container(x: Any) -> bool:
    """Tells whether x is a container of one array."""
    kind: Any = type(x)
    return _is_kind(kind) and len(_children(x)) == 1


@functools.lru_cache(maxsize=1024)
def _is_kind(kind: Any) -> bool:
    # Known by their methods: `get_metadata` is nnx's, `unbox` linen's. A module that holds a
    # single array has neither, and its field belongs to the array's path.
    return hasattr(kind, "get_metadata") or hasattr(kind, "unbox")


def _children(x: Any) -> list[Any]:
    return jax.tree.leaves(x, is_leaf=lambda node: node is not x)


def content(x: Any) -> Any:
    """What is in a container; anything else as it is."""
    return _children(x)[0] if is_container(x) else x


def bare(tree: PyTree) -> PyTree:
    """Returns the tree with the content of each container in its place."""
    return jax.tree.map(
        lambda x: bare(content(x)) if is_container(x) else x, tree, is_leaf=is_container
    )


def in_containers_of(like: PyTree, tree: PyTree) -> PyTree:
    """Returns a tree without containers in those of another, which may lack leaves or have more."""
    structures: list[Any] = [jax.tree.structure(bare(like)), jax.tree.structure(like)]
    if structures[0] == structures[1]:
        return tree

    def put(x: Any, new: Any) -> Any:
        return jax.tree.unflatten(_structure(x), [new]) if is_container(x) else new

    def is_end(x: Any) -> bool:
        return x is None or is_sparse(x) or is_container(x)

    return jax.tree.map(put, like, tree, is_leaf=is_end)


def _structure(x: Any) -> Any:
    """Returns the structure of a container, whatever is in it."""
    return jax.tree.structure(x, is_leaf=lambda node: node is not x)
