"""Names of the arrays of a state: the paths of its tree, and of the parameters within vectors."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..core.leaves import ENGINE_FIELDS, all_slots
from ..core.packing import Packed, is_packed
from ..core.protocol import PyTree
from ..core.state import State, nested_states
from ..core.stored import is_stored
from ..core.trees import is_absent, path_string

__all__ = ["Name", "Names"]

Path = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Name:
    """Where what has a name is, and what it is of.

    Attributes:
      array: number of the array among the leaves of the state.
      item: for one parameter's part of an array that holds several, its position there.
      link: path of the link that it belongs to; None where it belongs to none.
      field: which field of the link.
      leaf: path of the parameter that it is of; None where it is of the link.
      axis: along which items lie.
    """

    array: int
    item: int | None = None
    link: str | None = None
    field: str = ""
    leaf: str | None = None
    axis: int = -1

    @property
    def of_clock(self) -> bool:
        """Whether it is what a link counts or remembers of a parameter."""
        return self.field in _CLOCKS and self.leaf is not None


_CLOCKS = ("steps", "memory")


class Names:
    """The names of all arrays of a tree that holds states.

    A link keeps the steps of its parameters, and what its clock remembers of each, as vectors
    in the order of the tree. Each of their numbers has a name of its own, which ends in the
    parameter's path, so that it is found when the order is another.

    Attributes:
      arrays: the leaves of the tree; one in another form is one leaf.
      treedef: its structure.
      names: name -> where it is.
    """

    def __init__(self, who: str, tree: PyTree):
        arrays, self.treedef = jax.tree.flatten(tree, is_leaf=is_stored)
        self.arrays = [x if hasattr(x, "dtype") else np.asarray(x) for x in arrays]
        self.names: dict[str, Name] = {}
        links = dict(_links(tree))
        vectors = {path: items for node in links.values() for path, items in node}
        i = 0
        for path, x in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_one)[0]:
            link = next((path[:n] for n in range(len(path), -1, -1) if path[:n] in links), None)
            for leaves, axis in _held(path, x, vectors):
                for j, leaf in enumerate(leaves):
                    whole = (*path, *leaf)
                    name = self._one(i, whole, link)
                    if axis is not None:
                        name = dataclasses.replace(name, item=j, leaf=_text(leaf), axis=axis)
                    self._add(who, whole, name)
                i += 1

    @staticmethod
    def _one(i: int, path: Path, link: Path | None) -> Name:
        if link is None:
            return Name(i)
        field, *rest = path[len(link) :]
        of_leaf = path_string((field,)) not in ENGINE_FIELDS
        leaf = _text(tuple(rest)) if of_leaf else None
        return Name(i, None, _text(link), path_string((field,)), leaf)

    def _add(self, who: str, path: Path, name: Name) -> None:
        text = _text(path) or "(root)"
        if text in self.names:
            raise ValueError(
                f"{who}: two arrays have the name '{text}'. Rename a key so that paths differ "
                "when they are written with dots."
            )
        self.names[text] = name


def _is_one(x: Any) -> bool:
    return is_packed(x) or is_stored(x)


def _held(
    path: Path, x: Any, vectors: dict[Path, list[Path]]
) -> Iterator[tuple[list[Path], int | None]]:
    """For each array, the parameters of which it holds parts, and along which axis.

    One that is not of several has the empty path alone, or its parameter's, and no axis.
    """
    if not isinstance(x, Packed):
        yield (vectors[path], -1) if path in vectors else ([()], None)
        return
    paths = x.layout.paths
    for group, stack, axis in zip(x.layout.groups, x.stacks, x.axes, strict=True):
        if not is_absent(stack):
            yield [paths[i] for i in group], axis
    for i, other in zip(x.layout.rest, x.rest, strict=True):
        for inner, _ in jax.tree_util.tree_flatten_with_path(other, is_leaf=is_stored)[0]:
            yield [(*paths[i], *inner)], None


def _text(path: Path | None) -> Any:
    return path if path is None else (path_string(path) if path else "")


def _links(tree: PyTree) -> Iterator[tuple[Path, list[tuple[Path, list[Path]]]]]:
    """Each link's path, with the paths of its vectors and those of the parameters in them."""
    known: dict[Path, list[Path]] = {}
    for path, state in nested_states(tree):
        if not {"count", "hyperparams"} <= set(state._fields):
            continue
        slots = [k for k in state._fields if k not in ENGINE_FIELDS]
        vectors: list[tuple[Path, list[Path]]] = []
        if "steps" in state:
            # A link that only counts knows no paths; one before it in the chain may.
            leaves = _leaf_paths(state, slots) if slots else known.get(path[:-1], [])
            if len(leaves) == state.steps.shape[-1]:
                known[path[:-1]] = leaves
                vectors = [((*path, *inner), leaves) for inner in _vectors(state)]
        yield path, vectors


def _leaf_paths(state: State, slots: list[str]) -> list[Path]:
    return [path for path, _ in jax.tree_util.tree_flatten_with_path(all_slots(state, slots))[0]]


def _vectors(state: State) -> Iterator[Path]:
    """Paths, within a link, of what has a number for each parameter."""
    kept = State(**{k: state[k] for k in _CLOCKS if k in state})
    for path, _ in jax.tree_util.tree_flatten_with_path(kept)[0]:
        yield tuple(path)
