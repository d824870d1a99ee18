"""Names the arrays of a state by their paths, and the elements of vectors by their parameters."""

import dataclasses
import functools
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeAlias

import jax
import numpy as np

from ..core.engine.leaf_table import all_slots
from ..core.leaf.packing import Packed, as_tree, is_packed
from ..core.leaf.quantized import is_quantized
from ..core.protocol import PyTree
from ..core.rules.bound_rule import ENGINE_FIELDS
from ..core.state import State, is_rule_state, nested_states
from ..core.trees.structure import (
    is_absent,
    key_paths,
    path_string,
    unique_names,
    without_containers,
)
from .placing import HostArray, StateArray

__all__ = ["LEAF_SCALARS", "Link", "Name", "Names", "Path", "dotted", "is_link"]

Path: TypeAlias = tuple[Hashable, ...]
"""A path in a tree, as JAX gives it: keys of attributes, dictionaries and sequences."""

LEAF_SCALARS = ("leaf_counts", "carry")
"""Fields of a link's state that may hold one number for each parameter."""


@dataclasses.dataclass(frozen=True)
class Name:
    """The place of a named array in a state, and the link and parameter that it belongs to.

    Attributes:
      array: index of the array among the leaves of the state.
      item: index in that array, if it holds an item for each of several parameters.
      link: path of the link that the array belongs to, or None.
      field: field of the link.
      leaf: path of the parameter that the array belongs to, or None if it belongs to the link.
      axis: axis of the items.
    """

    array: int
    item: int | None = None
    link: str | None = None
    field: str = ""
    leaf: str | None = None
    axis: int = -1

    @property
    def is_leaf_scalar(self) -> bool:
        """Whether the array is a count or a carried scalar, of the link or of a parameter."""
        return self.link is not None and self.field in LEAF_SCALARS

    @property
    def is_slot(self) -> bool:
        """Whether the array is a slot of a parameter."""
        return self.leaf is not None and not self.is_leaf_scalar


@dataclasses.dataclass(frozen=True)
class Link:
    """The state of a link.

    Attributes:
      path: path of the state in the tree.
      state: the state.
      leaves: paths of the link's parameters in the order of the tree; None if unknown.
    """

    path: Path
    state: State
    leaves: tuple[Path, ...] | None

    @property
    def name(self) -> str:
        """The dotted path; empty for the root."""
        return _text(self.path)

    @functools.cached_property
    def names(self) -> dict[Path, str]:
        """Path of each parameter -> its unique dotted path, which is empty for a single array."""
        leaves = self.leaves or ()
        texts = zip(leaves, unique_names(leaves), strict=True)
        return {path: text if path else "" for path, text in texts}

    @property
    def leaf_names(self) -> tuple[str, ...] | None:
        """The names of the parameters, in the order of the tree."""
        return None if self.leaves is None else tuple(self.names.values())

    @property
    def batch(self) -> tuple[int, ...]:
        """Leading axes that `vmap` added to the state."""
        return np.shape(self.state["count"])

    def per_leaf(self, x: HostArray | StateArray) -> bool:
        """Tells whether a leaf scalar has an element for each parameter."""
        return len(x.shape) == len(self.batch) + 1


class Names:
    """The names of all arrays of a tree that holds states.

    A link's `leaf_counts`, and carried scalars that differ from parameter to parameter, are
    vectors in the order of the tree. Each element has a name that ends in the parameter's path,
    and so is found again when the order has changed.

    Attributes:
      arrays: the leaves of the tree; a quantized array is one leaf.
      treedef: its structure.
      names: name -> where the array is.
      links: the states of links.
    """

    def __init__(self, function: str, tree: PyTree):
        self.treedef = jax.tree.structure(tree, is_leaf=is_quantized)
        tree = without_containers(tree)  # so that the containers of `nnx` do not occur in names
        arrays = jax.tree.leaves(tree, is_leaf=is_quantized)
        self.arrays: list[StateArray] = [
            x if hasattr(x, "dtype") else np.asarray(x) for x in arrays
        ]
        self.links = list(_find_links(tree))
        links = {link.path: link for link in self.links}
        vectors = dict(vector for link in self.links for vector in _vectors(link))
        named: list[tuple[Path, Name]] = []
        i = 0
        for key, x in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_node)[0]:
            path = tuple(key)
            above = (path[:n] for n in range(len(path), -1, -1))
            link = next((links[k] for k in above if k in links), None)
            for leaves, axis in _contents(path, x, vectors):
                for j, leaf in enumerate(leaves):
                    item = None if axis is None else (j, axis, leaf)
                    named.append(_locate(link, i, (*path, *leaf), item))
                i += 1
        texts = iter(unique_names([path for path, name in named if name.leaf is None]))
        self.names: dict[str, Name] = {}
        for path, name in named:
            text = next(texts) if name.leaf is None else dotted(_text(path), name.leaf)
            if text in self.names:
                raise ValueError(
                    f"{function}: two arrays have the name '{text}'. Rename a key so that paths "
                    "differ when they are written with dots."
                )
            self.names[text] = name


def _locate(
    link: Link | None, i: int, path: Path, item: tuple[int, int, Path] | None
) -> tuple[Path, Name]:
    """Returns the path of an array without its parameter's path, and the array's place.

    Args:
      link: the link that the array belongs to, or None.
      i: index of the array among the leaves of the state.
      path: the whole path.
      item: index, axis and parameter's path of one item, if the array holds several.
    """
    name, field = None, ""
    leaf: Path | None = None
    if link is not None:
        name, field = link.name, _text(path[len(link.path) :][:1])
        if field not in ENGINE_FIELDS:
            leaf = path[len(link.path) + 1 :]
    position, axis, leaf = (None, -1, leaf) if item is None else item
    if leaf is None:
        return path, Name(i, None, name, field)
    text = _text(leaf) if link is None else link.names.get(leaf, _text(leaf))
    return path[: len(path) - len(leaf)], Name(i, position, name, field, text, axis)


def is_link(state: object) -> bool:
    """Tells whether a value is the state of a rule of this package, and not of a wrapper."""
    return is_rule_state(state) and "inner_state" not in state


def dotted(*parts: str) -> str:
    """Joins the non-empty parts of a name by dots."""
    return ".".join(part for part in parts if part)


def _is_node(x: object) -> bool:
    """Tells whether a node is named as one array, or by a layout: quantized or stacked slots."""
    return is_packed(x) or is_quantized(x)


def _contents(
    path: Path, x: object, vectors: Mapping[Path, tuple[Path, ...]]
) -> Iterator[tuple[list[Path], int | None]]:
    """Yields, for each array in x, the parameters whose items it holds, and the axis of the items.

    The axis of an array of a single parameter is None. The only path is then the parameter's path
    below `path`, which may be empty.
    """
    if not isinstance(x, Packed):
        yield (list(vectors[path]), -1) if path in vectors else ([()], None)
        return
    paths = x.layout.paths
    for group, stack, axis in zip(x.layout.groups, x.stacks, x.axes, strict=True):
        if not is_absent(stack):
            yield [paths[i] for i in group], axis
    for i, other in zip(x.layout.rest, x.rest, strict=True):
        for inner, _ in jax.tree_util.tree_flatten_with_path(other, is_leaf=is_quantized)[0]:
            yield [(*paths[i], *inner)], None


def _text(path: Path) -> str:
    return path_string(path) if path else ""


def _find_links(tree: PyTree) -> Iterator[Link]:
    """Finds the links, with the paths of their parameters.

    A link without slots has no such paths. It gets them from an earlier link in its chain, if one
    has slots.
    """
    paths_in_chain: dict[Path, tuple[Path, ...]] = {}
    for path, state in nested_states(tree):
        if not is_rule_state(state):
            continue
        slots = [k for k in state._fields if k not in ENGINE_FIELDS]
        leaves = (
            _leaf_paths(state, slots) if slots and is_link(state) else paths_in_chain.get(path[:-1])
        )
        counts = state._asdict().get("leaf_counts")
        if leaves is not None and counts is not None and len(leaves) != counts.shape[-1]:
            leaves = None
        if leaves is not None:
            paths_in_chain[path[:-1]] = leaves
        yield Link(tuple(path), state, leaves)


def _leaf_paths(state: State, slots: list[str]) -> tuple[Path, ...] | None:
    try:
        flat = key_paths(all_slots({k: as_tree(state[k]) for k in slots}))
    except ValueError:  # slots of different structures, in a state that another package made
        return None
    return tuple(path for path, _ in flat)


def _vectors(link: Link) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """Yields the paths of a link's vectors that have an element for each parameter."""
    if link.leaves is None:
        return
    fields = State(**{k: link.state[k] for k in LEAF_SCALARS if k in link.state})
    for path, x in jax.tree_util.tree_flatten_with_path(fields)[0]:
        if link.per_leaf(x) and x.shape[-1] == len(link.leaves):
            yield (*link.path, *path), link.leaves
