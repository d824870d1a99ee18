"""Finding and replacing parts of a state by their names."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from ..core.trees.placement import in_place_of
from ..core.trees.structure import path_string

__all__ = ["get", "get_all_with_path", "set"]

Path = tuple[Any, ...]
PyTree = Any
Filter = Callable[[Path, Any], bool]


def _children(node: PyTree) -> tuple[list[tuple[Path, Any]], Any]:
    """Returns the children of a node with their keys, and a function that replaces them."""
    is_child = lambda x: x is not node  # noqa: E731
    return jax.tree_util.tree_flatten_with_path(node, is_leaf=is_child)


def _name(key: Any) -> str:
    for field in ("name", "key", "idx"):
        if hasattr(key, field):
            return str(getattr(key, field))
    return str(key)


def _is_named(path: Path, node: PyTree, key: str) -> bool:
    """Tells whether the last names of a path are those of a dotted key, or the node's class is.

    Of a link and a field of it that have one name, it is the field's.
    """
    parts = str(key).split(".")
    names = [_name(k) for k in path[-len(parts) :]]
    fields = getattr(node, "_fields", None)
    if names == parts:
        return fields is None or parts[-1] not in fields
    return fields is not None and type(node).__name__ == key


def _nodes(path: Path, node: PyTree) -> Iterator[tuple[Path, Any]]:
    yield path, node
    children, _ = _children(node)
    if children and children[0][0]:  # a leaf is its own and only child
        for step, child in children:
            yield from _nodes((*path, *step), child)


def get_all_with_path(
    tree: PyTree, key: Any, filtering: Filter | None = None
) -> list[tuple[Path, Any]]:
    """Finds all values in a tree under a name, with their paths.

    Args:
      key: name of a field, a dict's key, a class of NamedTuples, or several names with dots,
        as the ends of paths: `"scale_by_adam.mu"`. `"trace"` is the field, also where its link
        has that name, too.
      filtering: `filtering(path, value)`, which says whether to take it.

    Example:
      >>> import functional_optim as fo
      >>> state = fo.adam(1e-3).init({"w": 1.0})
      >>> [fo.tree.get(state, "scale_by_adam.hyperparams.b1").item()]
      [0.8999999761581421]
      >>> [jax.tree_util.keystr(path) for path, _ in fo.tree.get_all_with_path(state, "mu")]
      ['.scale_by_adam.mu']
    """
    found = ((path, node) for path, node in _nodes((), tree) if _is_named(path, node, key))
    return [(path, x) for path, x in found if filtering is None or filtering(path, x)]


def get(tree: PyTree, key: Any, default: Any = None, filtering: Filter | None = None) -> Any:
    """Finds the one value in a tree under a name; see `get_all_with_path`.

    The links of one chain count the same updates: of their `count`, it is the first's. And of a
    hyperparameter, it is the one in force: not its schedule, nor what `inject_hyperparams` sets;
    of a measure, its value, not the state of what measures.

    Args:
      default: what is returned if nothing does.

    Raises:
      KeyError: several others stand there; their paths are in the message.

    Example:
      >>> get({"a": {"b": 1}}, "b"), get({"a": {"b": 1}}, "c", default=0)
      (1, 0)
    """
    found = _in_force(get_all_with_path(tree, key, filtering))
    if len(found) > 1 and not _is_one_clock(key, [path for path, _ in found]):
        places = ", ".join(path_string(path) for path, _ in found)
        raise KeyError(f"get: {key!r} stands at {places}. Pass a longer name, or filtering.")
    return found[0][1] if found else default


BEHIND = {
    "hyperparams": ("schedules", "hyperparams_states", "inner_state"),
    "metrics": ("measure_states",),
}
"""Fields of values -> fields beside them with what makes these values, or follows them."""


def _in_force(found: list[tuple[Path, Any]]) -> list[tuple[Path, Any]]:
    """Leaves out what determines a value among these: its schedule, others it sets, a state."""
    names = [tuple(map(_name, path)) for path, _ in found]
    hidden = [
        (*name[:-2], field) for name in names if len(name) > 1 for field in BEHIND.get(name[-2], ())
    ]

    def is_behind(name: tuple[str, ...]) -> bool:
        return any(name[: len(place)] == place for place in hidden)

    return [hit for hit, name in zip(found, names, strict=True) if not is_behind(name)]


def _is_one_clock(key: Any, paths: list[Path]) -> bool:
    """Tells whether these are the counts of the links of one chain."""
    fields = all(isinstance(k, jax.tree_util.GetAttrKey) for path in paths for k in path[-2:])
    return str(key) == "count" and fields and len({path[:-2] for path in paths}) == 1


def set(tree: PyTree, filtering: Filter | None = None, /, **kwargs: Any) -> PyTree:
    """Replaces the values under some names, wherever they are in a tree.

    A Python number in place of an array `()` takes its dtype and device, so that a compiled step
    takes the state as before. To change hyperparameters, `set_hyperparams` is the way: it checks.

    Args:
      filtering: `filtering(path, value)`, which says whether to replace it.
      kwargs: name -> new value. Dotted names pass as `**{"scale_by_adam.mu": ...}`.

    Raises:
      KeyError: nothing stands under a name.

    Example:
      >>> set({"a": {"b": 1}, "c": [2]}, b=3)
      {'a': {'b': 3}, 'c': [2]}
    """
    replaced = dict.fromkeys(kwargs, False)

    def build(path: Path, node: PyTree) -> PyTree:
        for name, value in kwargs.items():
            if _is_named(path, node, name) and (filtering is None or filtering(path, node)):
                replaced[name] = True
                return _like(node, value)
        children, treedef = _children(node)
        if not children or not children[0][0]:
            return node
        return treedef.unflatten([build((*path, *step), child) for step, child in children])

    made = build((), tree)
    missing = [name for name, done in replaced.items() if not done]
    if missing:
        raise KeyError(f"set: nothing stands under {missing[0]!r} in the tree.")
    return made


def _like(old: Any, value: Any) -> Any:
    """Returns the value; a number that replaces an array of its kind becomes such an array."""
    if not isinstance(value, (bool, int, float, complex)) or not isinstance(old, jax.Array):
        return value
    if old.shape or not isinstance(old.dtype, np.dtype):
        return value
    fits = np.can_cast(np.min_scalar_type(value), old.dtype, "same_kind")
    return in_place_of(old, value) if fits else value
