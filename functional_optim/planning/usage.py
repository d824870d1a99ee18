"""Finds the links of a transformation, the parameters that each sees, and their slots."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeAlias

import jax

from ..core.adapter import link_name
from ..core.chain import ChainInit, ChainUpdate
from ..core.functions import Function
from ..core.leaf.packing import unpacked
from ..core.leaf.quantized import FORMATS, with_decoded_shapes
from ..core.protocol import Hyperparameter, MaskedNode, PyTree
from ..core.rules.bound_rule import ENGINE_FIELDS
from ..core.rules.init import RuleInit
from ..core.state import State
from ..core.trees.labels import label_reason, resolve_labels, short_repr
from ..core.trees.structure import key_paths, leaf_paths, path_string
from ..sharding.matrices import MatrixSharding
from ..transforms.masking import MaskedInit, MaskedUpdate, PartitionInit, PartitionUpdate, Router
from ..transforms.matrices import (
    Blocks,
    MatricesInit,
    MatricesUpdate,
    MatrixAxes,
    OnlyMatrices,
    shown,
)
from .description import LinkRecord, SlotRecord

__all__ = ["LinkUsage", "find_links", "state_shapes"]

Path: TypeAlias = tuple[Hashable, ...]
Init: TypeAlias = Callable[[PyTree], PyTree]
Update: TypeAlias = Callable[..., tuple[PyTree, PyTree]] | None
"""The `update` of a link; None if it cannot be found within a wrapper of another package."""

Shape: TypeAlias = jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True)
class LinkUsage:
    """A link, the parameters that it acts on, and the reasons for that.

    Key paths identify parameters, because two parameters may have the same name.

    Attributes:
      at: path of the link's state in the whole state.
      init: `init` of the link; None for a mask or partition, which only routes.
      update: `update` of the link, if it is known.
      params: path -> shape, of the parameters that the link acts on.
      state: shapes of the link's state; None if init fails.
      routes: path of a parameter -> the reasons why the link acts on it.
      hyperparams: path of a parameter -> its hyperparameters.
    """

    at: Path
    init: Init | None
    update: Update
    params: dict[Path, Shape]
    state: PyTree
    routes: Mapping[Path, tuple[str, ...]]
    hyperparams: Mapping[Path, dict[str, Hyperparameter]] = dataclasses.field(default_factory=dict)

    def links(self, leaf: Path, arrays: Mapping[Path, Shape]) -> Iterator[LinkRecord]:
        """Yields the record of the link for a parameter, if it acts on it.

        Args:
          leaf: path of the parameter.
          arrays: path in the whole state -> shape there, which may have a sharding.
        """
        if self.init is None or leaf not in self.params:
            return
        is_rule = isinstance(self.init, RuleInit)
        has_name = isinstance(getattr(self.init, "name", None), str)
        name = link_name(self.init, self.update)
        slots = tuple(
            record
            for slot, path, x in self.slots.get(leaf, ())
            for record in _records(slot, (*self.at, *path), x, arrays)
        )
        yield LinkRecord(
            path_string(self.at) if self.at else name,
            short_repr(self.init) if has_name else name,
            has_name or not jax.tree.leaves(self.state),
            self.hyperparams.get(leaf, {}),
            slots,
            is_rule,
        )

    @functools.cached_property
    def slots(self) -> dict[Path, list[tuple[str, Path, Shape]]]:
        """Maps the path of a parameter to name, path and shape of the arrays that end with it."""
        slots: dict[Path, list[tuple[str, Path, Shape]]] = {}
        for path, x in key_paths(self._leafwise_state):
            if () in self.params:  # the parameter is a single array, and every path ends with ()
                if x.ndim:
                    slots.setdefault((), []).append((path_string(path), path, x))
                continue
            # Longest end first, because a shorter one could be the path of another parameter.
            ends = (path[i:] for i in range(len(path)))
            leaf = next((end for end in ends if end in self.params), None)
            if leaf is not None:
                before = path[: len(path) - len(leaf)]
                slots.setdefault(leaf, []).append(
                    (path_string(before) if before else "state", path, x)
                )
        return slots

    @property
    def _leafwise_state(self) -> PyTree:
        """The state without the fields of the whole rule, whose names a parameter may also have."""
        if not isinstance(self.init, RuleInit) or self.state is None:
            return self.state
        return State(**{k: v for k, v in self.state._asdict().items() if k not in ENGINE_FIELDS})


def _records(slot: str, path: Path, x: Shape, arrays: Mapping[Path, Shape]) -> Iterator[SlotRecord]:
    """Yields the record of a slot, or of each part of a quantized slot."""
    # A link's init gives the plain slot; within `low_bit_state` the whole state has its parts.
    for kind in FORMATS.values():
        parts = {part: _field_path(path, part) for part in kind.parts}
        if path not in arrays and {*parts.values()} <= arrays.keys():
            yield from (SlotRecord(f"{slot}.{part}", arrays[k]) for part, k in parts.items())
            return
    yield SlotRecord(slot, arrays.get(path, x))


def find_links(init: Init, update: Update, params: PyTree) -> Iterator[LinkUsage]:
    """Yields the links within a transformation, from the outermost to the innermost."""
    return _visit(init, update, params, ())


def _visit(init: Init, update: Update, params: PyTree, at: Path) -> Iterator[LinkUsage]:
    """Yields the link whose state is at a path, and the links within it."""
    if isinstance(init, ChainInit):
        updates = [x.function for x in update.links] if isinstance(update, ChainUpdate) else None
        for i, (name, inner) in enumerate(zip(init.names, init.inits, strict=True)):
            step = updates[i] if updates else None
            yield from _visit(inner, step, params, _field_path(at, name))
    elif isinstance(init, (MaskedInit, PartitionInit)):
        yield from _routed(init, update, params, at)
    elif isinstance(init, MatricesInit):
        yield from _on_matrices(init, update, params, at)
    elif isinstance(getattr(init, "parts", None), dict):
        yield from _parts(init, params, at)
    elif callable(getattr(init, "init", None)):
        yield from _wrapped(init, params, at)
    elif isinstance(init, RuleInit):
        yield _rule(init, update, params, at)
    else:
        yield LinkUsage(at, init, update, _leaves(params), state_shapes(init, params), {})


def _rule(init: RuleInit, update: Update, params: PyTree, at: Path) -> LinkUsage:
    """Returns the usage of a rule, with the hyperparameters and labels of each parameter."""
    leaves, hyperparams = _leaves(params), dict(init.numbers)
    state = state_shapes(init, params)
    by_label = init.leaf_labels(params) if state is not None else {}
    prefixes = tuple(f"{name}." for name in by_label)
    shared = {k: v for k, v in hyperparams.items() if not k.startswith(prefixes)}
    per_leaf: dict[Path, dict[str, Hyperparameter]] = {}
    routes: dict[Path, tuple[str, ...]] = {}
    names = leaf_paths(params)
    for i, (path, leaf) in enumerate(leaves.items()):
        labeled = {k: hyperparams[f"{k}.{label[i]}"] for k, label in by_label.items()}
        per_leaf[path] = shared | labeled
        routes[path] = tuple(
            f"{init.name}: {k}: {by_label[k][i]!r}, {label_reason(v.labeller, names[i], leaf)}"
            for k, v in init.labels
            if k in by_label
        )
    return LinkUsage(at, init, update, leaves, state, routes, per_leaf)


def _routed(
    init: MaskedInit | PartitionInit, update: Update, params: PyTree, at: Path
) -> Iterator[LinkUsage]:
    """Yields the links within a mask or a partition, each with its part of the tree."""
    router = init.router
    labels = router.labels(params)
    treedef: jax.tree_util.PyTreeDef
    flat, treedef = jax.tree.flatten(labels)
    leaves = treedef.flatten_up_to(params)
    yield LinkUsage(at, None, None, {}, None, _reasons(router, update, flat, params))
    if isinstance(init, MaskedInit):
        inner = update.link.function if isinstance(update, MaskedUpdate) else None
        yield from _visit(init.init, inner, router.split(labels, leaves, True), at)
        return
    updates = dict(update.links) if isinstance(update, PartitionUpdate) else {}
    for label, inner in init.inits:
        step = updates[label].function if label in updates else None
        part = router.split(labels, leaves, label)
        yield from _visit(inner, step, part, _field_path(at, str(label)))


def _reasons(
    router: Router, update: Update, labels: list[Hashable], params: PyTree
) -> dict[Path, tuple[str, ...]]:
    """Returns text about the label of each parameter, and the reason for it."""
    labeller = router.labeller
    mask = labeller.function if isinstance(labeller, Function) else labeller
    if isinstance(mask, OnlyMatrices):  # an optimizer made it; see `_on_matrices`
        return {}
    rest = ""
    if isinstance(update, MaskedUpdate):
        rest = ", so its update becomes zero" if update.otherwise == "zero" else ", so it passes"
    rows = zip(_leaves(params).items(), leaf_paths(params), labels, strict=True)
    return {
        path: (f"{router.link}: {label!r}{rest * (label is False)}, {reason}",)
        for (path, leaf), name, label in rows
        for reason in [label_reason(labeller, name, leaf)]
    }


def _on_matrices(
    init: MatricesInit, update: Update, params: PyTree, at: Path
) -> Iterator[LinkUsage]:
    """Yields the links that act on matrices, with the axes of each matrix as a reason."""
    labels = resolve_labels(init.name, init.leaves.argument, init.leaves, params, None)
    treedef: jax.tree_util.PyTreeDef
    layers, treedef = jax.tree.flatten(labels)
    leaves = treedef.flatten_up_to(params)
    is_matrix = [isinstance(layer, MatrixAxes) for layer in layers]
    matrices = [x if use else MaskedNode() for use, x in zip(is_matrix, leaves, strict=True)]
    reasons = {
        path: (
            f"{init.leaves.rule if use else 'adam'}: {shown(layer, x.shape)}",
            *(_mesh_routes(init, Blocks(layer, x.shape, init.block_size), x) if use else ()),
        )
        for (path, x), layer, use in zip(_leaves(params).items(), layers, is_matrix, strict=True)
    }
    yield LinkUsage(at, None, None, {}, None, reasons)
    inner = update.link.function if isinstance(update, MatricesUpdate) else None
    yield from _visit(init.init, inner, treedef.unflatten(matrices), at)


def _parts(init: Any, params: PyTree, at: Path) -> Iterator[LinkUsage]:
    """Yields the links within a transformation whose `parts` are the fields with inner states."""
    for name, part in init.parts.items():
        yield from _visit(part, None, params, _field_path(at, name))
    whole = state_shapes(init, params)
    if whole is not None:
        rest = {k: v for k, v in whole._asdict().items() if k not in init.parts}
        usage = LinkUsage(at, init, None, _leaves(params), State(**rest), {})
        if usage.slots:
            yield usage


def _mesh_routes(init: MatricesInit, blocks: Blocks, x: Shape) -> tuple[str, ...]:
    """Describes how a mesh shares the work on the matrices of a parameter."""
    rule = getattr(init.init, "rule", None)
    options = dict(getattr(rule, "options", ()))
    sharding = options.get("matrix_sharding")
    if not isinstance(sharding, MatrixSharding):
        return ()
    itemsize = max(x.dtype.itemsize, 4)  # the rule computes in float32 at least
    moved = sum(sharding.bytes_moved(shape, itemsize) for shape in blocks.shapes)
    period = "round" if sharding.how == "tensor_parallel" else "step"
    return (f"{init.leaves.rule}: {sharding}, {moved:,} bytes moved to each device in a {period}",)


def _wrapped(init: Any, params: PyTree, at: Path) -> Iterator[LinkUsage]:
    """Yields the links within a wrapper, whose state contains theirs, or equals it.

    Wrappers do not declare which field has the inner state: its structure and shapes identify it.
    """
    whole, part = state_shapes(init, params), state_shapes(init.init, params)
    fields = whole._asdict() if isinstance(whole, State) else {}
    matching = [k for k, v in fields.items() if part is not None and _same_shapes(v, part)]
    if part is not None and _same_shapes(whole, part):
        yield from _visit(init.init, None, params, at)
    elif matching:
        inner = matching[-1]
        yield from _visit(init.init, None, params, _field_path(at, inner))
        rest = {k: v for k, v in fields.items() if k != inner}
        usage = LinkUsage(at, init, None, _leaves(params), State(**rest), {})
        if usage.slots:
            yield usage
    else:
        yield LinkUsage(at, init, None, _leaves(params), whole, {})


def _same_shapes(a: PyTree, b: PyTree) -> bool:
    """Tells whether two trees of shapes are the same."""
    a, b = with_decoded_shapes(a), with_decoded_shapes(b)
    structures: list[Any] = [jax.tree.structure(a), jax.tree.structure(b)]
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False)
    return bool(structures[0] == structures[1]) and all(
        x.shape == y.shape and x.dtype == y.dtype for x, y in pairs
    )


def _field_path(at: Path, name: str) -> Path:
    """Returns the path of a field of a state."""
    return (*at, jax.tree_util.GetAttrKey(name))


def _leaves(params: PyTree) -> dict[Path, Shape]:
    return dict(key_paths(params))


def state_shapes(init: Init, params: PyTree) -> PyTree:
    """Returns the shapes of the state; None if init fails.

    `describe` has run the whole init already. A link's init can still fail on a part of the tree.
    """
    try:
        return unpacked(jax.eval_shape(init, params))
    except Exception:
        return None
