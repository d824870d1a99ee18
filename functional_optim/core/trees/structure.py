"""The structure of trees: kinds of leaves, paths of leaves, and aligning one tree with another.

A container of one array, such as a `Param` of nnx or a `Partitioned` of linen, takes the place of
an array in a tree, and adds metadata to it. This package ignores that: the path of a parameter ends
before its container, labels and masks may have the container or not, and a state with other
containers, or with none, fits the parameters too.
"""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
from jax.tree_util import PyTreeDef

from ..protocol import PyTree
from ..state import KeyPath

__all__ = [
    "align",
    "align_params",
    "container_content",
    "find_leaves",
    "in_containers_like",
    "is_absent",
    "is_container",
    "is_placeholder",
    "is_sparse",
    "key_paths",
    "leaf_paths",
    "path_string",
    "tree_nbytes",
    "unique_names",
    "without_containers",
]


def is_absent(subtree: PyTree) -> bool:
    """Tells whether a subtree is None, an empty container, or a `MaskedNode` of any library."""
    return not hasattr(subtree, "dtype") and not jax.tree.leaves(subtree)


def is_placeholder(x: object) -> bool:
    """Tells whether x replaces a missing leaf: it is None, or an empty NamedTuple."""
    return x is None or (isinstance(x, tuple) and not x and hasattr(x, "_fields"))


def is_sparse(x: object) -> bool:
    """Tells whether x is one of JAX's sparse arrays."""
    # The import is slow, and not needed: if x is sparse, its module has been imported.
    module = sys.modules.get("jax.experimental.sparse")
    return module is not None and isinstance(x, module.JAXSparse)


def is_container(x: PyTree) -> bool:
    """Tells whether x is a container of one array."""
    kind: Any = type(x)  # Any, because mypy does not know that classes are hashable
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
    """Puts a tree into the containers of `like`, which may have fewer or more leaves."""
    structures: list[PyTreeDef] = [
        jax.tree.structure(without_containers(like)),
        jax.tree.structure(like),
    ]
    if structures[0] == structures[1]:  # `like` has no containers
        return tree

    def put(x: PyTree, new: PyTree) -> PyTree:
        return jax.tree.unflatten(_structure(x), [new]) if is_container(x) else new

    def is_put(x: object) -> bool:
        return x is None or is_sparse(x) or is_container(x)

    return jax.tree.map(put, like, tree, is_leaf=is_put)


def _structure(x: PyTree) -> PyTreeDef:
    """Returns the structure of a container, with its content as the leaf."""
    return jax.tree.structure(x, is_leaf=lambda node: node is not x)


def path_string(path: Sequence[Hashable]) -> str:
    """Writes a key path with dots: `layers.0.kernel`; the root is `(root)`.

    Example:
      >>> jax.tree_util.tree_flatten_with_path({"a": [1, 2]})[0][1][0]
      (DictKey(key='a'), SequenceKey(idx=1))
      >>> path_string(_)
      'a.1'
    """
    return jax.tree_util.keystr(tuple(path), simple=True, separator=".") or "(root)"


def key_paths(
    tree: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> list[tuple[KeyPath, Any]]:
    """Returns key path and value of each leaf, in flattening order, without containers."""
    flat = jax.tree_util.tree_flatten_with_path(without_containers(tree), is_leaf=is_leaf)[0]
    return [(tuple(path), leaf) for path, leaf in flat]


def leaf_paths(tree: PyTree) -> list[str]:
    """Returns the dotted path of each leaf, in flattening order; no two are equal.

    Example:
      >>> leaf_paths({"a": {"b": 1.0}, "a.b": 2.0})
      ['a.b', 'a\\\\.b']
    """
    return unique_names([path for path, _ in key_paths(tree, is_sparse)])


def unique_names(paths: Sequence[Sequence[Hashable]]) -> list[str]:
    """Writes key paths with dots, and escapes dots within a key where two would read the same.

    Elsewhere dots are not escaped, because most trees of flat names (`layers.0.weight`) have no
    nested leaf of the same path.
    """
    names = [path_string(path) for path in paths]
    is_escaped = [False] * len(names)
    # Repeated, because an escaped name may be equal to yet another one.
    while True:
        count = Counter(names)
        ambiguous = [i for i, k in enumerate(names) if count[k] > 1 and not is_escaped[i]]
        if not ambiguous:
            return names
        for i in ambiguous:
            names[i], is_escaped[i] = _escaped(paths[i]), True


def _escaped(path: Sequence[Hashable]) -> str:
    """Returns a path with a backslash before each dot or backslash that is part of a key."""
    keys = (path_string((key,)) for key in path)
    return ".".join(k.replace("\\", "\\\\").replace(".", "\\.") for k in keys) or "(root)"


def align(
    reference: PyTree, tree: PyTree, *, link: str, name: str, reference_name: str = "the parameters"
) -> list[Any]:
    """Returns the part of `tree` at each leaf of `reference`.

    Args:
      reference: the tree that decides where the leaves are.
      tree: a tree with the same nodes, except for containers of one array; `None` (or any empty
        node) may be in the place of a leaf, or of a node with all its leaves.
      link: the transformation to name in the error.
      name: what `tree` is called in the error.
      reference_name: what `reference` is called in the error.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.
    """
    treedef: PyTreeDef = jax.tree.structure(reference, is_leaf=is_sparse)
    # Containers are removed only if they differ, because that flattens both trees once more.
    leaves = find_leaves(treedef, tree)
    if leaves is None:
        reference, tree = without_containers(reference), without_containers(tree)
        with_placeholders = _broadcast_placeholders(tree, reference)
        treedef = jax.tree.structure(reference, is_leaf=is_sparse)
        leaves = find_leaves(treedef, with_placeholders)
    if leaves is None:
        difference = first_difference(reference, tree, name, reference_name)
        raise ValueError(f"{link}: {difference}")
    return leaves


def _broadcast_placeholders(tree: PyTree, reference: PyTree) -> PyTree:
    """Broadcasts a placeholder in a tree to all leaves of that node of the reference."""

    def broadcast(x: PyTree, node: PyTree) -> PyTree:
        return jax.tree.map(lambda _: x, node) if is_placeholder(x) else x

    try:
        return jax.tree.map(
            broadcast, tree, reference, is_leaf=lambda x: is_placeholder(x) or is_sparse(x)
        )
    except ValueError:  # the trees differ, which the caller reports
        return tree


def find_leaves(treedef: PyTreeDef, tree: PyTree) -> list[Any] | None:
    """Returns the part of a tree at each leaf of a structure; None if the structures differ."""
    try:
        parts: list[Any] = treedef.flatten_up_to(tree)
    except ValueError:
        return None
    # Trees have many leaves of few classes, and most are arrays.
    kinds: set[Any] = set(map(type, parts))
    if all(hasattr(kind, "dtype") and not _is_container_class(kind) for kind in kinds):
        return parts
    for x in parts:
        # An array, a label or a placeholder; sparse and quantized arrays are nodes with a dtype.
        # Some containers have a dtype too, although they are not arrays.
        is_leaf = hasattr(x, "dtype") or is_absent(x) or jax.tree_util.all_leaves([x])
        if is_container(x) or not is_leaf:
            return None
    return parts


def align_params(
    reference: PyTree, params: PyTree, *, link: str, reference_name: str = "the updates"
) -> list[Any]:
    """Finds the parameter at each leaf of `reference`.

    Unlike `align`, this lets `params` have leaves where the reference has none: a whole model,
    with leaves that are not trained, may be passed together with gradients of the others.
    """
    treedef: PyTreeDef
    # Containers are removed only if they differ, because that flattens both trees once more.
    for remove_containers in (False, True):
        if remove_containers:
            reference, params = without_containers(reference), without_containers(params)
        leaves, treedef = jax.tree.flatten(
            reference, is_leaf=lambda x: is_placeholder(x) or is_sparse(x)
        )
        try:
            parts: list[Any] = treedef.flatten_up_to(params)
        except ValueError:
            continue
        if not any(map(is_container, parts)):
            return [p for p, leaf in zip(parts, leaves, strict=True) if not is_placeholder(leaf)]
    difference = first_difference(reference, params, "params", reference_name, lenient=True)
    raise ValueError(f"{link}: {difference}")


def first_difference(
    reference: PyTree, tree: PyTree, name: str, reference_name: str, *, lenient: bool = False
) -> str:
    """Describes the first difference of two trees; `lenient` lets `tree` have more leaves."""

    def leaves(t: PyTree) -> dict[KeyPath, Any]:
        flat, _ = jax.tree_util.tree_flatten_with_path(
            t, is_leaf=lambda x: x is None or is_sparse(x)
        )
        return {tuple(path): leaf for path, leaf in flat}

    expected = {path: leaf for path, leaf in leaves(reference).items() if leaf is not None}
    actual = leaves(tree)
    for path, leaf in expected.items():
        if path not in actual:
            # The reference may be a tree of labels, which have no shapes.
            what = f"an array of shape {leaf.shape}" if hasattr(leaf, "shape") else "a leaf"
            remedy = (
                "Pass the same parameters to init and to update."
                if name == "params"
                else "Pass None there for a leaf without a gradient."
            )
            return (
                f"{name} has no leaf at '{path_string(path)}', where {reference_name} have {what}. "
                f"{remedy}"
            )
    for path, leaf in {} if lenient else actual.items():
        if leaf is not None and path not in expected:
            return (
                f"{name} has a leaf at '{path_string(path)}', where {reference_name} have none. "
                "Pass trees of one structure to init and to update."
            )
    a, b = _first_type_difference(reference, tree)
    return (
        f"{name} is built of other containers than {reference_name}: {b} where they have {a}. "
        "Pass trees of one structure to init and to update."
    )


def _first_type_difference(a: PyTree, b: PyTree) -> tuple[str, str]:
    """Returns the names of the types of the first two nodes, from the root, that differ."""
    if type(a) is not type(b):
        return type(a).__name__, type(b).__name__
    one_level = jax.tree_util.default_registry.flatten_one_level
    children_a, children_b = one_level(a), one_level(b)
    if children_a is None or children_b is None:
        return type(a).__name__, type(b).__name__
    # If only the numbers of children differ, the nodes themselves are reported.
    for x, y in zip(children_a[0], children_b[0], strict=False):
        structures: list[PyTreeDef] = [jax.tree.structure(x), jax.tree.structure(y)]
        if structures[0] != structures[1]:
            return _first_type_difference(x, y)
    return type(a).__name__, type(b).__name__


def tree_nbytes(tree: PyTree) -> int:
    """Returns the bytes of the arrays of a tree; a replicated array counts once."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
