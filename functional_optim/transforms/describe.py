"""Tells, before training, what a transformation will do to each parameter."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.chain import ChainInit, ChainUpdate
from ..core.labels import why
from ..core.link import link_name
from ..core.protocol import PyTree
from ..core.rule_init import RuleInit
from ..core.state import State
from ..core.trees import path_string, tree_nbytes
from .description import Description, LeafRecord, LinkRecord, SlotRecord
from .masking import MaskedInit, MaskedUpdate, PartitionInit, PartitionUpdate

__all__ = ["describe"]


def describe(tx: Any, params: PyTree) -> Description:
    """Tells what a transformation does to each parameter, and what state that takes.

    Nothing is computed and no array is made: parameters may be `jax.ShapeDtypeStruct`.

    Args:
      tx: any pair `(init, update)`. Of links that are not of this package, names and state are
        told, and their hyperparameters are unknown.
      params: parameters, or their shapes.

    Returns:
      A description that prints, and whose `leaves` are records: of each parameter the mask or
      label that it has and why, the links that act on it with their hyperparameters, and the
      arrays that they keep for it.

    Example:
      >>> import functional_optim as fo
      >>> labels = fo.path_labels({r"bias$": "plain"}, default="adam")
      >>> tx = fo.partition({"adam": fo.scale_by_adam(), "plain": fo.scale(-0.1)}, labels)
      >>> print(fo.describe(tx, {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}))
      bias: float32[3], state 0 bytes
        partition: 'plain', by the rule 'bias$'
        plain: step_size=-0.1
      kernel: float32[2, 3], state 48 bytes
        partition: 'adam', by the default
        adam: b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0
          mu float32[2, 3], 24 bytes
          nu float32[2, 3], 24 bytes
      2 parameters of 9 elements; state: 88 bytes, 40 of them of no parameter
    """
    shapes = jax.tree.map(_shape, params)
    state = _shapes(tx.init, shapes)
    uses = list(_visit(tx.init, tx.update, shapes, "", ()))
    leaves = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        name = path_string(path)
        own = [use for use in uses if name in use.params]
        routes = [route for use in uses for route in use.routes.get(name, ())]
        links = tuple(link for use in own for link in use.link(name))
        leaves.append(LeafRecord(name, leaf, tuple(dict.fromkeys(routes)), links))
    return Description(tuple(leaves), None if state is None else tree_nbytes(state))


@dataclasses.dataclass(frozen=True)
class _Use:
    """A link, with the parameters that it sees and how they came to it."""

    path: str
    init: Any
    update: Any
    params: dict[str, Any]
    state: PyTree  # of shapes; None where init fails
    routes: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def link(self, name: str) -> Iterator[LinkRecord]:
        """The record of the link for one parameter; none where it only routes."""
        if self.init is None:
            return
        known = isinstance(self.init, RuleInit)
        hyperparams = self.numbers.get(name, {})
        own = getattr(self.init, "name", None)
        text = repr(self.init) if isinstance(own, str) else link_name(self.init, self.update)
        path = self.path or link_name(self.init, self.update)
        yield LinkRecord(path, text, known or not _numbers(self), hyperparams, self.slots(name))

    def slots(self, name: str) -> tuple[SlotRecord, ...]:
        """Arrays of the state whose path ends with the parameter's."""
        found = []
        for key, x in jax.tree_util.tree_flatten_with_path(self.state)[0]:
            path = path_string(key)
            if name == "(root)" and x.ndim:
                found.append(SlotRecord(path, x))
            elif path == name or path.endswith(f".{name}"):
                found.append(SlotRecord(path[: -len(name)].rstrip(".") or "state", x))
        return tuple(found)


def _numbers(use: _Use) -> bool:
    """Whether a link that is no rule may have hyperparameters: it is foreign, or keeps some."""
    foreign = not isinstance(getattr(use.init, "name", None), str)
    return foreign or bool(jax.tree.leaves(use.state))


def _visit(init: Any, update: Any, params: PyTree, path: str, routes: Any) -> Iterator[_Use]:
    """The links within a transformation, from the outside to the inside."""
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
        yield _Use(path, init, update, _paths(params), _shapes(init, params), {})


def _rule(init: RuleInit, update: Any, params: PyTree, path: str) -> _Use:
    """A rule, with the hyperparameters of each parameter and why it has those given by label."""
    leaves, numbers = _paths(params), dict(init.numbers)
    state = _shapes(init, params)
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
    return _Use(path, init, update, leaves, state, routes, own)


def _of(name: str, hyperparameter: str) -> bool:
    return name.startswith(f"{hyperparameter}.")


def _routed(init: Any, update: Any, params: PyTree, path: str) -> Iterator[_Use]:
    """The links of a mask or a partition, each with its part of the tree."""
    router = init.router
    try:
        labels = router.labels(params)
    except (TypeError, ValueError):
        yield _Use(path, init, update, _paths(params), None, {})
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
    yield _Use(path, None, None, {}, None, told)
    if isinstance(init, MaskedInit):
        inner = update.link.function if isinstance(update, MaskedUpdate) else None
        yield from _visit(init.init, inner, router.split(labels, leaves, True), path, ())
        return
    updates = dict(update.links) if isinstance(update, PartitionUpdate) else {}
    for label, inner in init.inits:
        step = updates[label].function if label in updates else None
        part = router.split(labels, leaves, label)
        yield from _visit(inner, step, part, _joined(path, str(label)), ())


def _wrapped(init: Any, params: PyTree, path: str, routes: Any) -> Iterator[_Use]:
    """The links within a wrapper, whose state is its own or a field of the wrapper's."""
    whole, part = _shapes(init, params), _shapes(init.init, params)
    fields = whole._asdict() if isinstance(whole, State) else {}
    at = [k for k, v in fields.items() if part is not None and _same(v, part)]
    if part is not None and _same(whole, part):
        yield from _visit(init.init, None, params, path, routes)
    elif at:
        yield from _visit(init.init, None, params, _joined(path, at[-1]), routes)
        own = _Use(
            path, init, None, _paths(params), {k: fields[k] for k in fields if k != at[-1]}, {}
        )
        if any(map(own.slots, own.params)):
            yield own
    else:
        yield _Use(path, init, None, _paths(params), whole, {})


def _same(a: PyTree, b: PyTree) -> bool:
    """Whether two trees of shapes are alike."""
    structures: list[Any] = [jax.tree.structure(a), jax.tree.structure(b)]
    same = bool(structures[0] == structures[1])
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False)
    return same and all(x.shape == y.shape and x.dtype == y.dtype for x, y in pairs)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _paths(params: PyTree) -> dict[str, Any]:
    return {path_string(k): x for k, x in jax.tree_util.tree_flatten_with_path(params)[0]}


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    dtype = x.dtype if hasattr(x, "dtype") else jnp.result_type(x)
    return jax.ShapeDtypeStruct(jnp.shape(x), dtype, sharding=_sharding(x))


def _sharding(x: Any) -> Any:
    """Of an array that is on a mesh; that of one on one device says nothing."""
    sharding = getattr(x, "sharding", None)
    return sharding if isinstance(sharding, jax.sharding.NamedSharding) else None


def _shapes(init: Any, params: PyTree) -> PyTree:
    """What init makes, as shapes; None where it fails, which is its caller's to see."""
    try:
        return jax.eval_shape(init, params)
    except Exception:
        return None
