"""Finds the links of a transformation, the parameters that each sees, and their slots."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from ..core.adapter import link_name
from ..core.chain import ChainInit, ChainUpdate
from ..core.leaf.packing import unpacked
from ..core.leaf.quantized import FORMS, outlined
from ..core.protocol import PyTree
from ..core.rules.init import ENGINE_FIELDS, RuleInit
from ..core.state import State
from ..core.trees.labels import why
from ..core.trees.structure import path_string
from ..transforms.masking import MaskedInit, MaskedUpdate, PartitionInit, PartitionUpdate
from .description import LinkRecord, SlotRecord

__all__ = ["LinkUsage", "shapes_of", "usages_of"]


@dataclasses.dataclass(frozen=True)
class LinkUsage:
    """A link, with the parameters that it sees and how they came to it.

    Attributes:
      path: where its state is in the whole state.
      init: its function; None for a mask or partition, which only routes.
      update: likewise, if it is known.
      params: path -> shape, of the parameters that it sees.
      state: shapes of its own state; None if init fails.
      routes: path of a parameter -> why it comes here.
      numbers: path of a parameter -> its hyperparameters.
    """

    path: str
    init: Any
    update: Any
    params: dict[str, Any]
    state: PyTree
    routes: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def links(self, name: str, arrays: Mapping[str, Any]) -> Iterator[LinkRecord]:
        """Yields the record of the link for a parameter, if it acts on it.

        Args:
          name: path of the parameter.
          arrays: path in the whole state -> array there, which may have a sharding.
        """
        if self.init is None or name not in self.params:
            return
        known = isinstance(self.init, RuleInit)
        own = getattr(self.init, "name", None)
        text = repr(self.init) if isinstance(own, str) else link_name(self.init, self.update)
        slots = tuple(
            record
            for slot, path, x in self.slots.get(name, ())
            for record in _records(slot, _joined(self.path, path), x, arrays)
        )
        yield LinkRecord(
            self.path or link_name(self.init, self.update),
            text,
            known or not _may_have_numbers(self),
            self.numbers.get(name, {}),
            slots,
        )

    @functools.cached_property
    def slots(self) -> dict[str, list[tuple[str, str, Any]]]:
        """Maps the path of a parameter to name, path and shape of the arrays that end with it."""
        slots: dict[str, list[tuple[str, str, Any]]] = {}
        for key, x in jax.tree_util.tree_flatten_with_path(self._own_state)[0]:
            path = path_string(key)
            if "(root)" in self.params:
                if x.ndim:
                    slots.setdefault("(root)", []).append((path, path, x))
                continue
            ends = (path_string(key[i:]) for i in range(len(key)))
            name = next((end for end in ends if end in self.params), None)
            if name is not None:
                slot = path.removesuffix(name).rstrip(".") or "state"
                slots.setdefault(name, []).append((slot, path, x))
        return slots

    @property
    def _own_state(self) -> PyTree:
        """The state without what a rule has once, whose names parameters may have as well."""
        if not isinstance(self.init, RuleInit) or self.state is None:
            return self.state
        return State(**{k: v for k, v in self.state._asdict().items() if k not in ENGINE_FIELDS})


def _records(slot: str, path: str, x: Any, arrays: Mapping[str, Any]) -> Iterator[SlotRecord]:
    """Yields the array of a slot; if it is quantized, its parts."""
    for form in FORMS.values():
        names = {part: f"{path}.{part}" for part in form.parts}
        if path not in arrays and {*names.values()} <= arrays.keys():
            yield from (SlotRecord(f"{slot}.{part}", arrays[k]) for part, k in names.items())
            return
    yield SlotRecord(slot, arrays.get(path, x))


def usages_of(init: Any, update: Any, params: PyTree) -> Iterator[LinkUsage]:
    """Yields the links within a transformation, from the outermost to the innermost."""
    return _visit(init, update, params, "", ())


def _may_have_numbers(usage: LinkUsage) -> bool:
    """Whether a link that is not a rule may have hyperparameters."""
    is_foreign = not isinstance(getattr(usage.init, "name", None), str)
    return is_foreign or bool(jax.tree.leaves(usage.state))


def _visit(init: Any, update: Any, params: PyTree, path: str, routes: Any) -> Iterator[LinkUsage]:
    """Yields the link at a path, and those within it."""
    if isinstance(init, ChainInit):
        updates = [x.function for x in update.links] if isinstance(update, ChainUpdate) else None
        for i, (name, inner) in enumerate(zip(init.names, init.inits, strict=True)):
            step = updates[i] if updates else None
            yield from _visit(inner, step, params, _joined(path, name), routes)
    elif isinstance(init, (MaskedInit, PartitionInit)):
        yield from _routed(init, update, params, path)
    elif callable(getattr(init, "init", None)):
        yield from _wrapped(init, params, path, routes)
    elif isinstance(init, RuleInit):
        yield _rule(init, update, params, path)
    else:
        yield LinkUsage(path, init, update, _paths(params), shapes_of(init, params), {})


def _rule(init: RuleInit, update: Any, params: PyTree, path: str) -> LinkUsage:
    """Returns the usage of a rule, with the hyperparameters and labels of each parameter."""
    leaves, numbers = _paths(params), dict(init.numbers)
    state = shapes_of(init, params)
    by_label = init.leaf_labels(params) if state is not None else {}
    plain = {k: v for k, v in numbers.items() if not any(_of(k, name) for name in by_label)}
    per_leaf: dict[str, dict[str, Any]] = {}
    routes: dict[str, tuple[str, ...]] = {}
    for i, (name, leaf) in enumerate(leaves.items()):
        per_leaf[name] = plain | {k: numbers[f"{k}.{label[i]}"] for k, label in by_label.items()}
        routes[name] = tuple(
            f"{init.name}: {k}: {by_label[k][i]!r}, {why(v.labeller, name, leaf)}"
            for k, v in init.labels
            if k in by_label
        )
    return LinkUsage(path, init, update, leaves, state, routes, per_leaf)


def _of(name: str, hyperparameter: str) -> bool:
    return name.startswith(f"{hyperparameter}.")


def _routed(init: Any, update: Any, params: PyTree, path: str) -> Iterator[LinkUsage]:
    """Yields the links of a mask or a partition, each with its part of the tree."""
    router = init.router
    try:
        labels = router.labels(params)
    except (TypeError, ValueError):
        yield LinkUsage(path, init, update, _paths(params), None, {})
        return
    treedef: Any
    flat, treedef = jax.tree.flatten(labels)
    leaves = treedef.flatten_up_to(params)
    by_path = dict(zip(_paths(labels), flat, strict=True))
    rest = ""
    if isinstance(update, MaskedUpdate):
        rest = ", so its update becomes zero" if update.otherwise == "zero" else ", so it passes"
    reasons: dict[str, tuple[str, ...]] = {
        name: (
            f"{router.link}: {by_path[name]!r}{rest * (by_path[name] is False)}, "
            f"{why(router.labeller, name, leaf)}",
        )
        for name, leaf in _paths(params).items()
    }
    yield LinkUsage(path, None, None, {}, None, reasons)
    if isinstance(init, MaskedInit):
        inner = update.link.function if isinstance(update, MaskedUpdate) else None
        yield from _visit(init.init, inner, router.split(labels, leaves, True), path, ())
        return
    updates = dict(update.links) if isinstance(update, PartitionUpdate) else {}
    for label, inner in init.inits:
        step = updates[label].function if label in updates else None
        part = router.split(labels, leaves, label)
        yield from _visit(inner, step, part, _joined(path, str(label)), ())


def _wrapped(init: Any, params: PyTree, path: str, routes: Any) -> Iterator[LinkUsage]:
    """Yields the links within a wrapper, whose state is the wrapper's or a field of it."""
    whole, part = shapes_of(init, params), shapes_of(init.init, params)
    fields = whole._asdict() if isinstance(whole, State) else {}
    at = [k for k, v in fields.items() if part is not None and _same(v, part)]
    if part is not None and _same(whole, part):
        yield from _visit(init.init, None, params, path, routes)
    elif at:
        yield from _visit(init.init, None, params, _joined(path, at[-1]), routes)
        rest = {k: v for k, v in fields.items() if k != at[-1]}
        usage = LinkUsage(path, init, None, _paths(params), rest, {})
        if usage.slots:
            yield usage
    else:
        yield LinkUsage(path, init, None, _paths(params), whole, {})


def _same(a: PyTree, b: PyTree) -> bool:
    """Whether two trees of shapes are the same."""
    a, b = outlined(a), outlined(b)
    structures: list[Any] = [jax.tree.structure(a), jax.tree.structure(b)]
    same = bool(structures[0] == structures[1])
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False)
    return same and all(x.shape == y.shape and x.dtype == y.dtype for x, y in pairs)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _paths(params: PyTree) -> dict[str, Any]:
    return {path_string(k): x for k, x in jax.tree_util.tree_flatten_with_path(params)[0]}


def shapes_of(init: Any, params: PyTree) -> PyTree:
    """Returns the shapes of the state; None if init fails, which its caller will see as well."""
    try:
        return unpacked(jax.eval_shape(init, params))
    except Exception:
        return None
