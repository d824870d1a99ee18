"""Restores the fields that a link has once, or once for each parameter: `leaf_counts`, `carry`.

A link counts the updates of each parameter only after an update in which one of them had no
gradient, or if `per_leaf_counts` requested it. A saved state and its template therefore need not
agree on whether there are `leaf_counts`, and whether a carried scalar is `()` or `(n,)`. This
module reads both shapes, and writes the one that the values require.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeAlias

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.state import State
from ..core.trees.structure import container_content, in_containers_like
from .matching import in_field, parent
from .names import LEAF_SCALARS, Link, Names, Path, dotted, is_link
from .placing import HostArray, SavedArray, StateArray, place
from .report import describe

__all__ = ["LeafScalars", "is_leaf_scalar"]

Arrays: TypeAlias = Mapping[str, SavedArray]


class Fields(NamedTuple):
    """Restored leaf scalars of a link; a value is None if it was not saved and has no default."""

    leaf_counts: HostArray | None
    has_leaf_counts: bool
    carry: dict[str, HostArray | None]


def is_leaf_scalar(name: str, saved: Arrays) -> bool:
    """Tells whether a saved array is a parameter's count, or a scalar that a rule carries."""
    return in_field(name, saved, LEAF_SCALARS)


class LeafScalars:
    """The leaf scalars that are restored to a template.

    Attributes:
      fields: path of a link -> its restored fields, as NumPy arrays.
      missing: name -> shape and dtype of each scalar that was not saved.
      used: saved names that are restored, or belong to a parameter that starts over.
      added: names of the links that gain leaf counts, because the template has none.
    """

    def __init__(
        self,
        names: Names,
        sources: Mapping[str, str],
        saved: Arrays,
        mismatched: Collection[str] = (),
    ):
        self._sources, self._saved = sources, saved
        self._mismatched = mismatched
        self._slots: dict[tuple[str, str], list[str]] = {}
        for k, name in names.names.items():
            if name.is_slot and name.link is not None and name.leaf is not None:
                self._slots.setdefault((name.link, name.leaf), []).append(k)
        # Saved path of the wrapper that a parameter's slots came from. Links next to it in a chain
        # that have no slots take their scalars from there as well.
        self._parents: dict[tuple[str, str], str] = {}
        self._counting: dict[str, bool] = {}  # saved link -> whether it has leaf counts
        self.fields: dict[Path, Fields] = {}
        self.missing: dict[str, str] = {}
        self.used: set[str] = set()
        self.added: list[str] = []
        for link in names.links:
            if is_link(link.state):
                self.fields[link.path] = self._restore(link)

    @staticmethod
    def shapes(names: Names) -> dict[str, tuple[int, ...]]:
        """Returns the names that leaf scalars of the template may have in a saved state."""
        shapes: dict[str, tuple[int, ...]] = {}
        for link in filter(lambda link: is_link(link.state), names.links):
            fields = ["leaf_counts", *(f"carry.{k}" for k in link.state._asdict().get("carry", {}))]
            for leaf in link.leaf_names or ():
                shapes |= {dotted(link.name, k, leaf): link.batch for k in fields}
        return shapes

    def _restore(self, link: Link) -> Fields:
        """Returns the restored leaf scalars of a link."""
        leaves = self._leaves(link)
        origins = [self._origin(link, leaf) for leaf in leaves]
        fields = link.state._asdict()
        count = self._count(link)
        counts = self._leaf_counts(link, leaves, origins, count)
        has_counts = "leaf_counts" in fields
        if leaves and not has_counts and _differ(counts, count):
            self.added.append(link.name)
            has_counts = True
        carry = {
            k: self._restore_carry(link, k, x, leaves, origins, per_leaf=has_counts)
            for k, x in fields.get("carry", {}).items()
        }
        return Fields(counts, has_counts, carry)

    def _leaves(self, link: Link) -> tuple[str, ...]:
        """Returns the paths of a link's parameters, or indices if only their number is known."""
        if link.leaf_names is not None:
            return link.leaf_names
        name = dotted(link.name, "leaf_counts")
        template = link.state._asdict().get("leaf_counts")
        if template is None and name in self._saved:
            template = self._saved[name]
        if template is not None and link.per_leaf(template):
            return tuple(f"#{i}" for i in range(template.shape[-1]))
        return tuple(k.removeprefix(f"{name}.") for k in self._saved if k.startswith(f"{name}."))

    def _origin(self, link: Link, leaf: str) -> str | None:
        """Returns the saved link that a parameter's scalars come from; None if it starts over.

        A parameter that lacks one of its slots starts over: freshly initialized zeros must not be
        treated as moments that were accumulated over `count` steps.
        """
        names = self._slots.get((link.name, leaf), [])
        if not names:
            above = parent(link.name)
            relative = link.name[len(above) :].removeprefix(".")
            if (above, leaf) in self._parents:
                return dotted(self._parents[above, leaf], relative)
            source = self._sources.get(dotted(link.name, "count"))
            return None if source is None else source.removesuffix("count").removesuffix(".")
        restored = [k for k in names if k in self._sources]
        if not restored:
            return None
        end = restored[0][len(link.name) :].removeprefix(".")
        origin = self._sources[restored[0]].removesuffix(end).removesuffix(".")
        if len(restored) < len(names) or any(k in self._mismatched for k in names):
            # The missing slots are reported. The saved scalars have no place without them, and
            # are not reported as unexpected.
            carried = (f"carry.{k}" for k in link.state._asdict().get("carry", {}))
            fields = (dotted(origin, k, leaf) for k in ("leaf_counts", *carried))
            self.used |= {k for k in fields if k in self._saved}
            return None
        self._parents.setdefault((parent(link.name), leaf), parent(origin))
        return origin

    def _count(self, link: Link) -> HostArray | None:
        """Returns the restored count of a link, shared by all its parameters."""
        source = self._sources.get(dotted(link.name, "count"))
        return _host(link.state["count"] if source is None else self._saved[source])

    def _leaf_counts(
        self,
        link: Link,
        leaves: tuple[str, ...],
        origins: list[str | None],
        count: HostArray | None,
    ) -> HostArray | None:
        """Returns the count of each parameter: its own saved one, or the shared one."""
        template = _host(link.state._asdict().get("leaf_counts", link.state["count"]))
        values = []
        for i, (leaf, origin) in enumerate(zip(leaves, origins, strict=True)):
            x = None
            if origin is not None:
                x = self._find(link, origin, "leaf_counts", leaf, i, leaves)
                # If other parameters have saved counts and this one has none, it is new.
                if x is None and not self._has_leaf_counts(origin):
                    has_slots = (link.name, leaf) in self._slots
                    x = _host(self._saved.get(dotted(origin, "count"))) if has_slots else count
            values.append(_item(template, link, i) if x is None else x)
        return _stack_scalars(values, link, np.dtype(np.int32))

    def _has_leaf_counts(self, origin: str) -> bool:
        """Tells whether a saved link has a count for some parameter."""
        if origin not in self._counting:
            name = dotted(origin, "leaf_counts.")
            self._counting[origin] = any(k.startswith(name) for k in self._saved)
        return self._counting[origin]

    def _restore_carry(
        self,
        link: Link,
        key: str,
        template: StateArray,
        leaves: tuple[str, ...],
        origins: list[str | None],
        *,
        per_leaf: bool,
    ) -> HostArray | None:
        """Restores a carried scalar: one number for all parameters, or for each."""
        values, was_saved, template_values = [], False, _host(template)
        for i, (leaf, origin) in enumerate(zip(leaves, origins, strict=True)):
            x = None
            if origin is not None:
                x = self._find(link, origin, f"carry.{key}", leaf, i, leaves)
            was_saved |= x is not None
            values.append(_item(template_values, link, i) if x is None else x)
        if not leaves:
            name = dotted(link.name, "carry", key)
            if name in self._saved:
                self.used.add(name)
            return _host(self._saved.get(name, template))
        if not was_saved:
            self.missing[dotted(link.name, "carry", key)] = describe(template)
        stacked = _stack_scalars(values, link)
        if per_leaf or link.per_leaf(template) or _differ(stacked, values[0]):
            return stacked
        return values[0]

    def _find(
        self, link: Link, origin: str, field: str, leaf: str, i: int, leaves: tuple[str, ...]
    ) -> HostArray | None:
        """Finds the saved scalar of a parameter, or the one that all parameters share."""
        for name in (dotted(origin, field, leaf), dotted(origin, field)):
            if name not in self._saved:
                continue
            x = _host(self._saved[name])
            if x is not None and x.shape == link.batch:
                self.used.add(name)
                return x
            if x is not None and x.shape == (*link.batch, len(leaves)):
                self.used.add(name)
                return x[..., i]
        return None

    def put(self, function: str, tree: PyTree) -> PyTree:
        """Returns the tree with the restored fields."""

        def replace(path: Path, x: object) -> object:
            if not (isinstance(x, State) and is_link(x)):
                return x
            return _with_fields(function, x, self.fields[tuple(path)])

        return jax.tree_util.tree_map_with_path(replace, tree, is_leaf=is_link)


def _with_fields(function: str, state: State, restored: Fields) -> State:
    """Returns the state of a link with its restored scalars; `leaf_counts` follow `count`."""
    fields: dict[str, PyTree] = {}
    for name, value in state._asdict().items():
        if name == "leaf_counts":
            fields[name] = _put(function, restored.leaf_counts, value)
        elif name == "carry":
            fields[name] = {k: _put(function, restored.carry[k], x) for k, x in value.items()}
        else:
            fields[name] = value
        if name == "count" and restored.has_leaf_counts and "leaf_counts" not in state:
            fields["leaf_counts"] = _put(function, restored.leaf_counts, value)
    return State(**fields)


def _put(function: str, value: HostArray | None, like: StateArray) -> PyTree:
    if value is None:
        raise ValueError(
            f"{function}: the saved state lacks a scalar that a rule carries, and the template has "
            "only shapes. Pass a template with values: init(params)."
        )
    # An array that is new takes the container of its neighbor: nnx.Optimizer accepts no others.
    return in_containers_like(like, place(value, container_content(like)))


def _host(x: SavedArray | StateArray | None) -> HostArray | None:
    """Returns the array on the host; None if x is only a shape."""
    x = container_content(x)
    return None if x is None or isinstance(x, jax.ShapeDtypeStruct) else np.asarray(x)


def _item(x: HostArray | None, link: Link, i: int) -> HostArray | None:
    """Returns a parameter's element of a leaf scalar, which may be shared by all parameters."""
    return x if x is None or not link.per_leaf(x) else x[..., i]


def _stack_scalars(
    values: list[HostArray | None], link: Link, dtype: np.dtype | None = None
) -> HostArray | None:
    """Stacks the scalars of all parameters along a last axis; returns None if one is unknown."""
    if any(x is None for x in values):
        return None
    if not values:
        return np.zeros((*link.batch, 0), dtype)
    return np.stack([x for x in values if x is not None], axis=-1)


def _differ(values: HostArray | None, value: HostArray | None) -> bool:
    """Tells whether the values of some parameters differ from a shared value."""
    if values is None or value is None:
        return False
    return not np.array_equal(values, np.broadcast_to(value[..., None], values.shape))
