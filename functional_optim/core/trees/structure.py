"""Trees: their leaves' paths, and lining one tree up with another."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..protocol import PyTree
from .containers import bare, is_container
from .sparse_rows import is_sparse

__all__ = [
    "align",
    "align_params",
    "find_leaves",
    "is_absent",
    "is_placeholder",
    "key_paths",
    "leaf_paths",
    "path_string",
    "tree_nbytes",
    "unique_names",
]


def path_string(path: Sequence[Any]) -> str:
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
) -> list[tuple[tuple[Any, ...], Any]]:
    """Key path and content of each leaf, in flattening order; containers of one are left out."""
    flat = jax.tree_util.tree_flatten_with_path(bare(tree), is_leaf=is_leaf)[0]
    return [(tuple(path), leaf) for path, leaf in flat]


def leaf_paths(tree: PyTree) -> list[str]:
    """Dotted path of each leaf, in flattening order; no two are equal.

    Example:
      >>> leaf_paths({"a": {"b": 1.0}, "a.b": 2.0})
      ['a.b', 'a\\\\.b']
    """
    return unique_names([path for path, _ in key_paths(tree, is_sparse)])


def unique_names(paths: Sequence[Sequence[Any]]) -> list[str]:
    """Writes key paths with dots, and escapes dots within a key where two would read the same.

    Only there, because most trees of flat names (`layers.0.weight`) have no other.
    """
    names = [path_string(path) for path in paths]
    is_escaped = [False] * len(names)
    while True:
        count = Counter(names)
        again = [i for i, k in enumerate(names) if count[k] > 1 and not is_escaped[i]]
        if not again:
            return names
        for i in again:
            names[i], is_escaped[i] = _escaped(paths[i]), True


def _escaped(path: Sequence[Any]) -> str:
    """Returns a path with a backslash before each dot or backslash that is part of a key."""
    keys = (path_string((key,)) for key in path)
    return ".".join(k.replace("\\", "\\\\").replace(".", "\\.") for k in keys) or "(root)"


def is_absent(subtree: PyTree) -> bool:
    """Tells whether x is absent: `None`, a `MaskedNode` of any library, an empty container."""
    return not hasattr(subtree, "dtype") and not jax.tree.leaves(subtree)


def is_placeholder(x: Any) -> bool:
    """Tells whether x stands for a missing leaf: None, or an empty NamedTuple."""
    return x is None or (isinstance(x, tuple) and not x and hasattr(x, "_fields"))


def _is_one(x: Any) -> bool:
    """Tells whether x is one leaf, or stands for one: an array, a label, a placeholder."""
    if is_container(x):  # some have a dtype, and are no arrays
        return False
    return hasattr(x, "dtype") or is_absent(x) or jax.tree_util.all_leaves([x])


def align(
    reference: PyTree, tree: PyTree, *, link: str, name: str, reference_name: str = "the parameters"
) -> list[Any]:
    """Finds in `tree` what stands at each leaf of `reference`.

    Args:
      reference: the tree that decides where the leaves are.
      tree: a tree with the same nodes, but for containers of one array; `None` (or any empty
        node) may stand for a leaf, or for all leaves of a node.
      link: the transformation to name in the error.
      name: what `tree` is called in the error.
      reference_name: what `reference` is called in the error.

    Raises:
      ValueError: the trees differ; the message names the first leaf that does.
    """
    treedef: Any = jax.tree.structure(reference, is_leaf=is_sparse)
    found = find_leaves(treedef, tree)
    if found is None:
        reference, tree = bare(reference), bare(tree)
        spread = _spread(tree, reference)
        found = find_leaves(jax.tree.structure(reference, is_leaf=is_sparse), spread)
    if found is None:
        difference = first_difference(reference, tree, name, reference_name)
        raise ValueError(f"{link}: {difference}")
    return found


def _spread(tree: PyTree, reference: PyTree) -> PyTree:
    """Broadcasts a placeholder in a tree to all leaves of that node of the reference."""

    def spread(x: Any, node: PyTree) -> PyTree:
        return jax.tree.map(lambda _: x, node) if is_placeholder(x) else x

    try:
        return jax.tree.map(
            spread, tree, reference, is_leaf=lambda x: is_placeholder(x) or is_sparse(x)
        )
    except ValueError:  # it has other nodes
        return tree


def find_leaves(treedef: Any, tree: PyTree) -> list[Any] | None:
    """Finds what stands at each leaf of a structure; None where the tree has another structure."""
    try:
        found: list[Any] = treedef.flatten_up_to(tree)
    except ValueError:
        return None
    return found if all(map(_is_one, found)) else None


def align_params(reference: PyTree, params: PyTree, *, link: str) -> list[Any]:
    """Finds the parameter at each leaf of `reference`.

    Unlike `align`, this lets `params` have leaves where the reference has none: a whole
    model, with what is not trained, may be passed beside gradients of its arrays.
    """
    found = _aligned(reference, params)
    if found is None:
        reference, params = bare(reference), bare(params)
        found = _aligned(reference, params)
    if found is None:
        difference = first_difference(reference, params, "params", "the updates", lenient=True)
        raise ValueError(f"{link}: {difference}")
    return found


def _aligned(reference: PyTree, params: PyTree) -> list[Any] | None:
    treedef: Any
    leaves, treedef = jax.tree.flatten(
        reference, is_leaf=lambda x: is_placeholder(x) or is_sparse(x)
    )
    try:
        found = treedef.flatten_up_to(params)
    except ValueError:
        return None
    if any(map(is_container, found)):
        return None
    return [p for p, leaf in zip(found, leaves, strict=True) if not is_placeholder(leaf)]


def first_difference(
    reference: PyTree, tree: PyTree, name: str, reference_name: str, *, lenient: bool = False
) -> str:
    """Says where two trees first differ in structure; `lenient` lets `tree` have more leaves."""

    def leaves(t: PyTree) -> dict[tuple[Any, ...], Any]:
        flat = jax.tree_util.tree_flatten_with_path(t, is_leaf=lambda x: x is None or is_sparse(x))[
            0
        ]
        return {tuple(path): leaf for path, leaf in flat if leaf is not None}

    wanted, got = leaves(reference), leaves(tree)
    nones = {
        tuple(path)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is None)[0]
        if leaf is None
    }
    for path, leaf in wanted.items():
        if path not in got and path not in nones:
            return (
                f"{name} has no leaf at '{path_string(path)}', where {reference_name} have an "
                f"array of shape {jnp.shape(leaf)}. Pass None there for a leaf without a gradient."
            )
    for path in () if lenient else got:
        if path not in wanted:
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
    """Types of the first two nodes, from the root, that are of different kinds."""
    if type(a) is not type(b):
        return type(a).__name__, type(b).__name__
    one_level = jax.tree_util.default_registry.flatten_one_level
    children_a, children_b = one_level(a), one_level(b)
    if children_a is None or children_b is None:
        return type(a).__name__, type(b).__name__
    for x, y in zip(children_a[0], children_b[0], strict=False):
        structures: list[Any] = [jax.tree.structure(x), jax.tree.structure(y)]
        if structures[0] != structures[1]:
            return _first_type_difference(x, y)
    return type(a).__name__, type(b).__name__


def tree_nbytes(tree: PyTree) -> int:
    """Bytes that the arrays of a tree hold, all devices' copies counted once."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
