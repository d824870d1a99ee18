"""Functions that find and replace the values of a state by their names."""

from collections.abc import Callable, Hashable, Iterator

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.trees.placement import put_like
from ..core.trees.structure import path_string

__all__ = ["get", "get_all_with_path", "set"]

Path = tuple[Hashable, ...]
Filter = Callable[[Path, PyTree], bool]


def _children(node: PyTree) -> tuple[list[tuple[Path, PyTree]], jax.tree_util.PyTreeDef]:
    """Returns the children of a node with their keys, and a function that replaces them."""
    # Every node below the root counts as a leaf, so that only one level is flattened.
    is_child = lambda x: x is not node  # noqa: E731
    return jax.tree_util.tree_flatten_with_path(node, is_leaf=is_child)


def _name(key: Hashable) -> str:
    for field in ("name", "key", "idx"):
        if hasattr(key, field):
            return str(getattr(key, field))
    return str(key)


def _is_named(path: Path, node: PyTree, key: str) -> bool:
    """Tells whether a path ends in the names of a dotted key, or the key is the node's class.

    Where a transformation has a field of its name, as `trace` has, the key names the field.
    """
    parts = str(key).split(".")
    names = [_name(k) for k in path[-len(parts) :]]
    fields = getattr(node, "_fields", None)
    if names == parts:
        return fields is None or parts[-1] not in fields
    return fields is not None and type(node).__name__ == key


def _nodes(path: Path, node: PyTree) -> Iterator[tuple[Path, PyTree]]:
    yield path, node
    children, _ = _children(node)
    # Flattening a leaf gives the leaf itself, with an empty path.
    if children and children[0][0]:
        for step, child in children:
            yield from _nodes((*path, *step), child)


def get_all_with_path(
    tree: PyTree, key: str, filtering: Filter | None = None
) -> list[tuple[Path, PyTree]]:
    """Finds all values in a tree under a name, with their paths.

    Args:
      key: the name of a field, a key of a dict, the name of a class of NamedTuples, or several
        names joined by dots, which are the end of the path: `"scale_by_adam.mu"`. `"trace"` names
        the field `trace`, although its transformation has that name as well.
      filtering: `filtering(path, value)`, which returns whether to include the value.

    Example:
      >>> import functional_optim as fo
      >>> state = fo.adam(1e-3).init({"w": 1.0})
      >>> [fo.tree.get(state, "scale_by_adam.hyperparams.b1").item()]
      [0.8999999761581421]
      >>> [jax.tree_util.keystr(path) for path, _ in fo.tree.get_all_with_path(state, "mu")]
      ['.scale_by_adam.mu']
    """
    named = ((path, node) for path, node in _nodes((), tree) if _is_named(path, node, key))
    return [(path, x) for path, x in named if filtering is None or filtering(path, x)]


def get(tree: PyTree, key: str, default: object = None, filtering: Filter | None = None) -> PyTree:
    """Finds the one value in a tree under a name; see `get_all_with_path`.

    All links of a chain count the same updates, so `"count"` returns the first of their counts.
    For a hyperparameter, it is the current value, and neither the numbers of its schedule nor a
    value that `inject_hyperparams` overrides; for a metric, it is the value, and not the state of
    the function that measures it.

    Args:
      default: the result if the tree has no value of that name.
      See `get_all_with_path` for the others.

    Raises:
      KeyError: several other values have the name; their paths are in the message.

    Example:
      >>> get({"a": {"b": 1}}, "b"), get({"a": {"b": 1}}, "c", default=0)
      (1, 0)
    """
    values = _current_values(get_all_with_path(tree, key, filtering))
    if len(values) > 1 and not _are_counts_of_one_chain(key, [path for path, _ in values]):
        paths = ", ".join(path_string(path) for path, _ in values)
        raise KeyError(f"get: {key!r} is the name of {paths}. Pass a longer name, or filtering.")
    return values[0][1] if values else default


SHADOWED = {
    "hyperparams": ("schedules", "hyperparams_states", "inner_state"),
    "metrics": ("measure_states",),
}
"""Field with current values -> sibling fields with the inputs or copies of these values."""


def _current_values(matches: list[tuple[Path, PyTree]]) -> list[tuple[Path, PyTree]]:
    """Drops the matches that are inputs or copies of another match, by `SHADOWED`."""
    names = [tuple(map(_name, path)) for path, _ in matches]
    hidden = [
        (*name[:-2], field)
        for name in names
        if len(name) > 1
        for field in SHADOWED.get(name[-2], ())
    ]

    def is_hidden(name: tuple[str, ...]) -> bool:
        return any(name[: len(prefix)] == prefix for prefix in hidden)

    return [match for match, name in zip(matches, names, strict=True) if not is_hidden(name)]


def _are_counts_of_one_chain(key: str, paths: list[Path]) -> bool:
    """Tells whether the values are the counts of the links of one chain."""
    fields = all(isinstance(k, jax.tree_util.GetAttrKey) for path in paths for k in path[-2:])
    return str(key) == "count" and fields and len({path[:-2] for path in paths}) == 1


def set(tree: PyTree, filtering: Filter | None = None, /, **kwargs: object) -> PyTree:
    """Replaces all values of a tree that have one of the names.

    A Python number that replaces an array `()` gets the dtype and device of the array, so that a
    compiled step is not compiled again. Use `set_hyperparams` for hyperparameters, because it
    checks their values.

    Args:
      filtering: `filtering(path, value)`, which returns whether to replace the value.
      kwargs: name -> new value. Pass dotted names as `**{"scale_by_adam.mu": ...}`.

    Raises:
      KeyError: the tree has no value of a name.

    Example:
      >>> set({"a": {"b": 1}, "c": [2]}, b=3)
      {'a': {'b': 3}, 'c': [2]}
    """
    replaced = dict.fromkeys(kwargs, False)

    def build(path: Path, node: PyTree) -> PyTree:
        for name, value in kwargs.items():
            if _is_named(path, node, name) and (filtering is None or filtering(path, node)):
                replaced[name] = True
                return _value_in_place_of(node, value)
        children, treedef = _children(node)
        if not children or not children[0][0]:
            return node
        return treedef.unflatten([build((*path, *step), child) for step, child in children])

    new_tree = build((), tree)
    missing = [name for name, done in replaced.items() if not done]
    if missing:
        raise KeyError(f"set: the tree has no value with the name {missing[0]!r}.")
    return new_tree


def _value_in_place_of(old: object, value: object) -> object:
    """Returns the value; converts a Python number to the dtype and device of the old array."""
    if not isinstance(value, (bool, int, float, complex)) or not isinstance(old, jax.Array):
        return value
    if old.shape or not isinstance(old.dtype, np.dtype):
        return value
    fits = np.can_cast(np.min_scalar_type(value), old.dtype, "same_kind")
    return put_like(old, value) if fits else value
