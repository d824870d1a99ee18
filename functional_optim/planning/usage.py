"""Finds the links of a transformation, the parameters that each sees, and their slots."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from ..core.adapter import link_name
from ..core.chain import ChainInit, ChainUpdate
from ..core.functions import Function
from ..core.leaf.packing import unpacked
from ..core.leaf.quantized import FORMS, outlined
from ..core.protocol import MaskedNode, PyTree
from ..core.rules.init import ENGINE_FIELDS, RuleInit
from ..core.state import State
from ..core.trees.labels import resolve_labels, shown, why
from ..core.trees.structure import key_paths, leaf_paths, path_string
from ..transforms.masking import MaskedInit, MaskedUpdate, PartitionInit, PartitionUpdate, Router
from ..transforms.matrices import REST, MatricesInit, MatricesUpdate, OnlyMatrices
from .description import LinkRecord, SlotRecord

__all__ = ["LinkUsage", "shapes_of", "usages_of"]

Path = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class LinkUsage:
    """A link, with the parameters that it sees and how they came to it.

    Parameters are known by their key paths, which are different where their names may not be.

    Attributes:
      at: where its state is in the whole state.
      init: its function; None for a mask or partition, which only routes.
      update: likewise, if it is known.
      params: path -> shape, of the parameters that it sees.
      state: shapes of its own state; None if init fails.
      routes: path of a parameter -> why it comes here.
      numbers: path of a parameter -> its hyperparameters.
    """

    at: Path
    init: Any
    update: Any
    params: dict[Path, Any]
    state: PyTree
    routes: Mapping[Path, tuple[str, ...]]
    numbers: Mapping[Path, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def links(self, leaf: Path, arrays: Mapping[Path, Any]) -> Iterator[LinkRecord]:
        """Yields the record of the link for a parameter, if it acts on it.

        Args:
          leaf: path of the parameter.
          arrays: path in the whole state -> array there, which may have a sharding.
        """
        if self.init is None or leaf not in self.params:
            return
        known = isinstance(self.init, RuleInit)
        own = getattr(self.init, "name", None)
        text = shown(self.init) if isinstance(own, str) else link_name(self.init, self.update)
        slots = tuple(
            record
            for slot, path, x in self.slots.get(leaf, ())
            for record in _records(slot, (*self.at, *path), x, arrays)
        )
        yield LinkRecord(
            path_string(self.at) if self.at else link_name(self.init, self.update),
            text,
            known or not _may_have_numbers(self),
            self.numbers.get(leaf, {}),
            slots,
        )

    @functools.cached_property
    def slots(self) -> dict[Path, list[tuple[str, Path, Any]]]:
        """Maps the path of a parameter to name, path and shape of the arrays that end with it."""
        slots: dict[Path, list[tuple[str, Path, Any]]] = {}
        for path, x in key_paths(self._own_state):
            if () in self.params:
                if x.ndim:
                    slots.setdefault((), []).append((path_string(path), path, x))
                continue
            ends = (path[i:] for i in range(len(path)))
            leaf = next((end for end in ends if end in self.params), None)
            if leaf is not None:
                before = path[: len(path) - len(leaf)]
                slots.setdefault(leaf, []).append(
                    (path_string(before) if before else "state", path, x)
                )
        return slots

    @property
    def _own_state(self) -> PyTree:
        """The state without what a rule has once, whose names parameters may have as well."""
        if not isinstance(self.init, RuleInit) or self.state is None:
            return self.state
        return State(**{k: v for k, v in self.state._asdict().items() if k not in ENGINE_FIELDS})


def _records(slot: str, path: Path, x: Any, arrays: Mapping[Path, Any]) -> Iterator[SlotRecord]:
    """Yields the array of a slot; if it is quantized, its parts."""
    for form in FORMS.values():
        parts = {part: _below(path, part) for part in form.parts}
        if path not in arrays and {*parts.values()} <= arrays.keys():
            yield from (SlotRecord(f"{slot}.{part}", arrays[k]) for part, k in parts.items())
            return
    yield SlotRecord(slot, arrays.get(path, x))


def usages_of(init: Any, update: Any, params: PyTree) -> Iterator[LinkUsage]:
    """Yields the links within a transformation, from the outermost to the innermost."""
    return _visit(init, update, params, (), {})


def _may_have_numbers(usage: LinkUsage) -> bool:
    """Tells whether a link that is not a rule may have hyperparameters."""
    is_foreign = not isinstance(getattr(usage.init, "name", None), str)
    return is_foreign or bool(jax.tree.leaves(usage.state))


def _visit(init: Any, update: Any, params: PyTree, at: Path, routes: Any) -> Iterator[LinkUsage]:
    """Yields the link whose state is at a path, and those within it."""
    if isinstance(init, ChainInit):
        updates = [x.function for x in update.links] if isinstance(update, ChainUpdate) else None
        for i, (name, inner) in enumerate(zip(init.names, init.inits, strict=True)):
            step = updates[i] if updates else None
            yield from _visit(inner, step, params, _below(at, name), routes)
    elif isinstance(init, (MaskedInit, PartitionInit)):
        yield from _routed(init, update, params, at)
    elif isinstance(init, MatricesInit):
        yield from _on_matrices(init, update, params, at)
    elif callable(getattr(init, "init", None)):
        yield from _wrapped(init, params, at, routes)
    elif isinstance(init, RuleInit):
        yield _rule(init, update, params, at)
    else:
        yield LinkUsage(at, init, update, _leaves(params), shapes_of(init, params), {})


def _rule(init: RuleInit, update: Any, params: PyTree, at: Path) -> LinkUsage:
    """Returns the usage of a rule, with the hyperparameters and labels of each parameter."""
    leaves, numbers = _leaves(params), dict(init.numbers)
    state = shapes_of(init, params)
    by_label = init.leaf_labels(params) if state is not None else {}
    plain = {k: v for k, v in numbers.items() if not any(_of(k, name) for name in by_label)}
    per_leaf: dict[Path, dict[str, Any]] = {}
    routes: dict[Path, tuple[str, ...]] = {}
    names = leaf_paths(params)
    for i, (path, leaf) in enumerate(leaves.items()):
        per_leaf[path] = plain | {k: numbers[f"{k}.{label[i]}"] for k, label in by_label.items()}
        routes[path] = tuple(
            f"{init.name}: {k}: {by_label[k][i]!r}, {why(v.labeller, names[i], leaf)}"
            for k, v in init.labels
            if k in by_label
        )
    return LinkUsage(at, init, update, leaves, state, routes, per_leaf)


def _of(name: str, hyperparameter: str) -> bool:
    return name.startswith(f"{hyperparameter}.")


def _routed(init: Any, update: Any, params: PyTree, at: Path) -> Iterator[LinkUsage]:
    """Yields the links of a mask or a partition, each with its part of the tree."""
    router = init.router
    labels = router.labels(params)
    treedef: Any
    flat, treedef = jax.tree.flatten(labels)
    leaves = treedef.flatten_up_to(params)
    yield LinkUsage(at, None, None, {}, None, _reasons(router, update, flat, params))
    if isinstance(init, MaskedInit):
        inner = update.link.function if isinstance(update, MaskedUpdate) else None
        yield from _visit(init.init, inner, router.split(labels, leaves, True), at, {})
        return
    updates = dict(update.links) if isinstance(update, PartitionUpdate) else {}
    for label, inner in init.inits:
        step = updates[label].function if label in updates else None
        part = router.split(labels, leaves, label)
        yield from _visit(inner, step, part, _below(at, str(label)), {})


def _reasons(
    router: Router, update: Any, labels: list[Any], params: PyTree
) -> dict[Path, tuple[str, ...]]:
    """Says for each parameter which label it has, and why."""
    labeller = router.labeller
    mask = labeller.function if isinstance(labeller, Function) else labeller
    if isinstance(mask, OnlyMatrices):  # of the optimizer's own; see `_on_matrices`
        return {}
    rest = ""
    if isinstance(update, MaskedUpdate):
        rest = ", so its update becomes zero" if update.otherwise == "zero" else ", so it passes"
    rows = zip(_leaves(params).items(), leaf_paths(params), labels, strict=True)
    return {
        path: (f"{router.link}: {label!r}{rest * (label is False)}, {why(labeller, name, leaf)}",)
        for (path, leaf), name, label in rows
    }


def _on_matrices(init: MatricesInit, update: Any, params: PyTree, at: Path) -> Iterator[LinkUsage]:
    """Yields the links of the parameters that are matrices, and says which axes they have."""
    labels = resolve_labels(init.name, "weight_dimension_numbers", init.leaves, params, None)
    treedef: Any
    specs, treedef = jax.tree.flatten(labels)
    leaves = treedef.flatten_up_to(params)
    chosen = [MaskedNode() if spec == REST else x for spec, x in zip(specs, leaves, strict=True)]
    reasons = {
        path: (init.leaves.shown(spec, x.shape),)
        for (path, x), spec in zip(_leaves(params).items(), specs, strict=True)
    }
    yield LinkUsage(at, None, None, {}, None, reasons)
    inner = update.link.function if isinstance(update, MatricesUpdate) else None
    yield from _visit(init.init, inner, treedef.unflatten(chosen), at, {})


def _wrapped(init: Any, params: PyTree, at: Path, routes: Any) -> Iterator[LinkUsage]:
    """Yields the links within a wrapper, whose state is the wrapper's or a field of it."""
    whole, part = shapes_of(init, params), shapes_of(init.init, params)
    fields = whole._asdict() if isinstance(whole, State) else {}
    found = [k for k, v in fields.items() if part is not None and _same(v, part)]
    if part is not None and _same(whole, part):
        yield from _visit(init.init, None, params, at, routes)
    elif found:
        yield from _visit(init.init, None, params, _below(at, found[-1]), routes)
        rest = {k: v for k, v in fields.items() if k != found[-1]}
        usage = LinkUsage(at, init, None, _leaves(params), State(**rest), {})
        if usage.slots:
            yield usage
    else:
        yield LinkUsage(at, init, None, _leaves(params), whole, {})


def _same(a: PyTree, b: PyTree) -> bool:
    """Tells whether two trees of shapes are the same."""
    a, b = outlined(a), outlined(b)
    structures: list[Any] = [jax.tree.structure(a), jax.tree.structure(b)]
    same = bool(structures[0] == structures[1])
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False)
    return same and all(x.shape == y.shape and x.dtype == y.dtype for x, y in pairs)


def _below(at: Path, name: str) -> Path:
    """Returns the path of a field of a state."""
    return (*at, jax.tree_util.GetAttrKey(name))


def _leaves(params: PyTree) -> dict[Path, Any]:
    return dict(key_paths(params))


def shapes_of(init: Any, params: PyTree) -> PyTree:
    """Returns the shapes of the state; None if init fails, as it may for a part of a tree."""
    try:
        return unpacked(jax.eval_shape(init, params))
    except Exception:
        return None
