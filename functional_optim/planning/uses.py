"""The links of a transformation, with the parameters that each sees and what it keeps for them."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from ..core.chain import ChainInit, ChainUpdate
from ..core.labels import why
from ..core.link import link_name
from ..core.packing import unpacked
from ..core.protocol import PyTree
from ..core.rule_init import RuleInit
from ..core.state import State
from ..core.stored import FORMS, outlined
from ..core.trees import path_string
from ..transforms.masking import MaskedInit, MaskedUpdate, PartitionInit, PartitionUpdate
from .description import LinkRecord, SlotRecord

__all__ = ["Use", "shapes_of", "uses_of"]


@dataclasses.dataclass(frozen=True)
class Use:
    """A link, with the parameters that it sees and how they came to it.

    Attributes:
      path: where its state is in the whole.
      init: its function; None where it only routes.
      update: likewise, if it is known.
      params: path -> shape, of the parameters that it sees.
      state: shapes of its own state; None where init fails.
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
        """The record of the link for a parameter, if it acts on it.

        Args:
          name: path of the parameter.
          arrays: path in the whole state -> array there, which may know its sharding.
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
            known or not _numbers(self),
            self.numbers.get(name, {}),
            slots,
        )

    @functools.cached_property
    def slots(self) -> dict[str, list[tuple[str, str, Any]]]:
        """Path of a parameter -> name, path and shape of the arrays whose path ends with it."""
        found: dict[str, list[tuple[str, str, Any]]] = {}
        for key, x in jax.tree_util.tree_flatten_with_path(self.state)[0]:
            path = path_string(key)
            if "(root)" in self.params:
                if x.ndim:
                    found.setdefault("(root)", []).append((path, path, x))
                continue
            ends = (path_string(key[i:]) for i in range(len(key)))
            name = next((end for end in ends if end in self.params), None)
            if name is not None:
                slot = path.removesuffix(name).rstrip(".") or "state"
                found.setdefault(name, []).append((slot, path, x))
        return found


def _records(slot: str, path: str, x: Any, arrays: Mapping[str, Any]) -> Iterator[SlotRecord]:
    """The array of a slot; where it is held in fewer bits, its parts."""
    for form in FORMS.values():
        names = {part: f"{path}.{part}" for part in form.parts}
        if path not in arrays and {*names.values()} <= arrays.keys():
            yield from (SlotRecord(f"{slot}.{part}", arrays[k]) for part, k in names.items())
            return
    yield SlotRecord(slot, arrays.get(path, x))


def uses_of(init: Any, update: Any, params: PyTree) -> Iterator[Use]:
    """The links within a transformation, from the outside to the inside."""
    return _visit(init, update, params, "", ())


def _numbers(use: Use) -> bool:
    """Whether a link that is no rule may have hyperparameters: it is foreign, or keeps some."""
    foreign = not isinstance(getattr(use.init, "name", None), str)
    return foreign or bool(jax.tree.leaves(use.state))


def _visit(init: Any, update: Any, params: PyTree, path: str, routes: Any) -> Iterator[Use]:
    """The links at a path, and those within them."""
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
        yield Use(path, init, update, _paths(params), shapes_of(init, params), {})


def _rule(init: RuleInit, update: Any, params: PyTree, path: str) -> Use:
    """A rule, with the hyperparameters of each parameter and why it has those given by label."""
    leaves, numbers = _paths(params), dict(init.numbers)
    state = shapes_of(init, params)
    by_label = init.labels(params) if state is not None else {}
    plain = {k: v for k, v in numbers.items() if not any(_of(k, name) for name in by_label)}
    own: dict[str, dict[str, Any]] = {}
    routes: dict[str, tuple[str, ...]] = {}
    for i, (name, leaf) in enumerate(leaves.items()):
        own[name] = plain | {k: numbers[f"{k}.{label[i]}"] for k, label in by_label.items()}
        routes[name] = tuple(
            f"{init.name}: {k}: {by_label[k][i]!r}, {why(v.labeller, name, leaf)}"
            for k, v in init.groups
            if k in by_label
        )
    return Use(path, init, update, leaves, state, routes, own)


def _of(name: str, hyperparameter: str) -> bool:
    return name.startswith(f"{hyperparameter}.")


def _routed(init: Any, update: Any, params: PyTree, path: str) -> Iterator[Use]:
    """The links of a mask or a partition, each with its part of the tree."""
    router = init.router
    try:
        labels = router.labels(params)
    except (TypeError, ValueError):
        yield Use(path, init, update, _paths(params), None, {})
        return
    treedef: Any
    flat, treedef = jax.tree.flatten(labels)
    leaves = treedef.flatten_up_to(params)
    given = _paths(params)
    by_path = dict(zip(_paths(labels), flat, strict=True))
    rest = ""
    if isinstance(update, MaskedUpdate):
        rest = ", so its update becomes zero" if update.otherwise == "zero" else ", so it passes"
    told: dict[str, tuple[str, ...]] = {
        name: (
            f"{router.link}: {by_path[name]!r}{rest * (by_path[name] is False)}, "
            f"{why(router.labeller, name, leaf)}",
        )
        for name, leaf in given.items()
    }
    yield Use(path, None, None, {}, None, told)
    if isinstance(init, MaskedInit):
        inner = update.link.function if isinstance(update, MaskedUpdate) else None
        yield from _visit(init.init, inner, router.split(labels, leaves, True), path, ())
        return
    updates = dict(update.links) if isinstance(update, PartitionUpdate) else {}
    for label, inner in init.inits:
        step = updates[label].function if label in updates else None
        part = router.split(labels, leaves, label)
        yield from _visit(inner, step, part, _joined(path, str(label)), ())


def _wrapped(init: Any, params: PyTree, path: str, routes: Any) -> Iterator[Use]:
    """The links within a wrapper, whose state is its own or a field of the wrapper's."""
    whole, part = shapes_of(init, params), shapes_of(init.init, params)
    fields = whole._asdict() if isinstance(whole, State) else {}
    at = [k for k, v in fields.items() if part is not None and _same(v, part)]
    if part is not None and _same(whole, part):
        yield from _visit(init.init, None, params, path, routes)
    elif at:
        yield from _visit(init.init, None, params, _joined(path, at[-1]), routes)
        own = Use(
            path, init, None, _paths(params), {k: fields[k] for k in fields if k != at[-1]}, {}
        )
        if own.slots:
            yield own
    else:
        yield Use(path, init, None, _paths(params), whole, {})


def _same(a: PyTree, b: PyTree) -> bool:
    """Whether two trees of shapes are alike."""
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
    """What init makes, as shapes; None where it fails, which is its caller's to see."""
    try:
        return unpacked(jax.eval_shape(init, params))
    except Exception:
        return None
