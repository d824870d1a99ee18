"""Containers of one array, such as a `Param` of nnx or a `Partitioned` of linen.

A container takes the place of an array in a tree, and adds metadata to it. This package ignores
that: the path of a parameter ends before its container, labels and masks may have the container
or not, and a state with other containers, or with none, fits the parameters too.
"""

import functools
from typing import Any

import jax
from jax.tree_util import PyTreeDef

from ..protocol import PyTree
from .sparse_rows import is_sparse

__all__ = ["without_containers", "container_content", "in_containers_like", "is_container"]


def is_container(x: PyTree) -> bool:
    """Tells whether x is a container of one array."""
    kind: Any = type(x)  # mypy does not take a class for hashable
    return _is_container_class(kind) and len(_children(x)) == 1


@functools.lru_cache(maxsize=1024)
def _is_container_class(kind: type) -> bool:
    # Recognized by its methods: `get_metadata` is nnx's, `unbox` linen's. A module with a single
    # array has neither, and its field belongs to the array's path.
    return hasattr(kind, "get_metadata") or hasattr(kind, "unbox")


def _children(x: PyTree) -> list[PyTree]:
    return jax.tree.leaves(x, is_leaf=lambda node: node is not x)


def container_content(x: PyTree) -> PyTree:
    """Returns the content of a container; anything else is returned unchanged."""
    return _children(x)[0] if is_container(x) else x


def without_containers(tree: PyTree) -> PyTree:
    """Returns the tree with the content of each container in its place."""
    return jax.tree.map(
        lambda x: without_containers(container_content(x)) if is_container(x) else x,
        tree,
        is_leaf=is_container,
    )


def in_containers_like(like: PyTree, tree: PyTree) -> PyTree:
    """Puts a tree into the containers of another one, which may have fewer or more leaves."""
    structures: list[PyTreeDef] = [
        jax.tree.structure(without_containers(like)),
        jax.tree.structure(like),
    ]
    if structures[0] == structures[1]:
        return tree

    def put(x: PyTree, new: PyTree) -> PyTree:
        return jax.tree.unflatten(_structure(x), [new]) if is_container(x) else new

    def is_end(x: object) -> bool:
        return x is None or is_sparse(x) or is_container(x)

    return jax.tree.map(put, like, tree, is_leaf=is_end)


def _structure(x: PyTree) -> PyTreeDef:
    """Returns the structure of a container, with its content as the leaf."""
    return jax.tree.structure(x, is_leaf=lambda node: node is not x)
