"""Names of the arrays of a state: the paths of its tree, and of the parameters within vectors."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..core.leaves import ENGINE_FIELDS, all_slots
from ..core.protocol import PyTree
from ..core.state import State, nested_states
from ..core.trees import path_string

__all__ = ["Name", "Names"]

Path = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Name:
    """Where what has a name is, and what it is of.

    Attributes:
      array: number of the array among the leaves of the state.
      item: for one parameter's number in a vector, its position there.
      link: path of the link that it belongs to; None where it belongs to none.
      field: which field of the link.
      leaf: path of the parameter that it is of; None where it is of the link.
    """

    array: int
    item: int | None = None
    link: str | None = None
    field: str = ""
    leaf: str | None = None


class Names:
    """The names of all arrays of a tree that holds states.

    A link keeps the steps of its parameters, and what its clock remembers of each, as vectors
    in the order of the tree. Each of their numbers has a name of its own, which ends in the
    parameter's path, so that it is found when the order is another.

    Attributes:
      arrays: the leaves of the tree.
      treedef: its structure.
      names: name -> where it is.
    """

    def __init__(self, who: str, tree: PyTree):
        flat, self.treedef = jax.tree_util.tree_flatten_with_path(tree)
        self.arrays = [x if hasattr(x, "dtype") else np.asarray(x) for _, x in flat]
        self.names: dict[str, Name] = {}
        links = dict(_links(tree))
        vectors = {path: items for node in links.values() for path, items in node}
        for i, (path, _) in enumerate(flat):
            link = next((path[:n] for n in range(len(path), -1, -1) if path[:n] in links), None)
            parts = vectors.get(path)
            if parts is None:
                self._add(who, path, self._one(i, path, link))
            else:
                for j, leaf in enumerate(parts):
                    owner, field = _text(link), path_string(path[len(link or ()) :][:1])
                    name = Name(i, j, owner, field, _text(leaf))
                    self._add(who, (*path, *leaf), name)

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
    kept = State(**{k: state[k] for k in ("steps", "memory") if k in state})
    for path, _ in jax.tree_util.tree_flatten_with_path(kept)[0]:
        yield tuple(path)
