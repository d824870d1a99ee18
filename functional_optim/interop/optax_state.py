"""States of optax as ours and ours as optax's: a run that began with one goes on with the other."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..core.hyperparams import get_hyperparams, set_hyperparams
from ..core.leaves import ENGINE_FIELDS
from ..core.protocol import PyTree
from ..core.state import State, nested_states
from ..core.trees import path_string
from ..serialization.placing import place
from .optax_table import LINKS, Counterpart
from .optax_walk import counts_of, injected, map_states, states_of

__all__ = ["from_optax", "to_optax"]


def from_optax(state: Any, template: PyTree, *, count: int | None = None) -> PyTree:
    """Turns a state of optax into one of the same transformation here.

    Both are chains of the same links in the same order, possibly with a partition or masks
    within; links that keep nothing there may be in between. The links that are known are those
    of adam, adamw, amsgrad, nadam, adamax, adabelief, yogi, radam, lion, lamb, sgd, rmsprop,
    adagrad, adadelta, adafactor, novograd and `ema`. The hyperparameters are the
    template's, which is to have optax's arguments; those of `optax.inject_hyperparams` are taken
    over. optax's rmsprop with momentum multiplies by the learning rate before the momentum: its
    counterpart is `chain(scale_by_rms(...), scale_by_learning_rate(...), trace(...))`.

    Args:
      state: what `init` or `update` of optax gave.
      template: `init(params)` of the transformation here.
      count: number of updates made, where nothing in optax's state counts them.

    Raises:
      ValueError: something in one has no counterpart in the other, shapes differ, or nothing
        counts the updates and count is not given.

    Example:
      >>> import optax
      >>> import functional_optim as fo
      >>> from functional_optim.interop.optax_state import from_optax
      >>> params = {"w": 1.0}
      >>> theirs, ours = optax.sgd(0.1, momentum=0.9), fo.sgd(0.1, momentum=0.9)
      >>> _, state = theirs.update({"w": 0.5}, theirs.init(params))
      >>> print(from_optax(state, ours.init(params), count=1).trace.trace["w"])
      0.5
    """
    who = "from_optax"
    pairs = {p.path: p for p in _pairs(who, state, template)}
    counts = [int(c) for c in counts_of(state)]
    if count is None and not counts:
        raise ValueError(
            f"{who}: nothing in optax's state counts updates. Pass count=, how many were made."
        )
    made = max(counts) if count is None else count
    links = {path: _read(who, node, pairs.get(path), made) for path, node in _links(template)}
    result = _with_links(template, (), links)
    given = injected(state)
    scheduled = {name.split(".")[0] for name in get_hyperparams(result) if "." in name}
    return set_hyperparams(result, {k: v for k, v in given.items() if k not in scheduled})


def to_optax(state: PyTree, template: Any) -> Any:
    """Turns a state into optax's of the same transformation; the reverse of `from_optax`.

    Args:
      state: what `init` or `update` here gave.
      template: `init(params)` of optax's transformation.

    Raises:
      ValueError: something in one has no counterpart in the other, or shapes differ.
    """
    pairs = iter(_pairs("to_optax", template, state))
    known = get_hyperparams(state)

    def write(theirs: Any) -> Any:
        pair = next(pairs)
        return _write("to_optax", pair.link, pair)

    made = max((int(link.count) for _, link in _links(state)), default=0)
    return map_states(template, write, made, known)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A state of optax and the link that holds the same."""

    theirs: Any
    path: tuple[Any, ...]
    link: State
    counterpart: Counterpart


def _links(state: PyTree) -> Iterator[tuple[tuple[Any, ...], State]]:
    for path, node in nested_states(state):
        if {"count", "hyperparams"} <= set(node._fields):
            yield path, node


def _slots(link: State) -> list[str]:
    return [k for k in link._fields if k not in ENGINE_FIELDS]


def _base(path: tuple[Any, ...]) -> str:
    """Name of a link without the number that tells two of a chain apart."""
    return re.sub(r"_\d+$", "", path_string(path[-1:]))


def _pairs(who: str, theirs: Any, ours: PyTree) -> list[_Pair]:
    """The states of optax, in their order, with the links that hold the same."""
    links = [(path, node, LINKS.get(_base(path))) for path, node in _links(ours) if path]
    pairs: list[_Pair] = []
    for state, labels in states_of(theirs):
        name = type(state).__name__
        fitting = (
            i
            for i, (path, _, counterpart) in enumerate(links)
            if counterpart and name in counterpart.states and labels <= set(map(_key, path))
        )
        found = next(fitting, None)
        if found is None:
            raise ValueError(
                f"{who}: optax's {name} has no counterpart among the links that are left: "
                f"{', '.join(path_string(path) for path, _, _ in links) or 'none'}. Make the "
                "same chain here, in the same order."
            )
        path, node, counterpart = links[found]
        assert counterpart is not None
        pairs.append(_Pair(state, path, node, counterpart))
        # Of another label's links, those before it are still to come.
        links = [x for i, x in enumerate(links) if i > found or (i < found and labels)]
    paired = {pair.path for pair in pairs}
    left = [path for path, node in _links(ours) if path not in paired and _slots(node)]
    if left:
        raise ValueError(
            f"{who}: optax's state has nothing for '{path_string(left[0])}'. Make the same chain "
            "there, in the same order."
        )
    return pairs


def _key(part: Any) -> str:
    return path_string((part,))


def _read(who: str, link: State, pair: _Pair | None, count: int) -> State:
    """A link after `count` updates, with what optax keeps for it."""
    fields: dict[str, Any] = {"count": place(count, link.count)}
    if "steps" in link:
        fields["steps"] = place(np.full(link.steps.shape, count), link.steps)
    if "memory" in link:
        last = {k: 1.0 if k == "started" else link.hyperparams.get(k) for k in link.memory}
        unknown = [k for k, v in last.items() if v is None]
        if unknown:
            raise ValueError(f"{who}: optax keeps no {unknown[0]!r}, which the link here needs.")
        at_start = 0 if count == 0 else 1
        fields["memory"] = {
            k: place(np.full(x.shape, np.asarray(last[k]) * at_start), x)
            for k, x in link.memory.items()
        }
    for slot in _slots(link) if pair else ():
        assert pair is not None
        theirs = _field(who, pair, slot)
        total = _total(pair, slot, link, count)
        scale = 0.0 if total == 0 else 1 / total
        fields[slot] = _converted(who, theirs, link[slot], scale)
    return link._replace(**fields)


def _field(who: str, pair: _Pair, slot: str) -> Any:
    field = pair.counterpart.slots.get(slot, slot)
    if field not in pair.theirs._fields:
        raise ValueError(
            f"{who}: optax keeps nothing for '{slot}', which {path_string(pair.path)} keeps here."
        )
    return getattr(pair.theirs, field)


def _write(who: str, link: State, pair: _Pair) -> Any:
    """optax's state of what a link holds."""
    theirs, count = pair.theirs, int(link.count)
    fields = {
        field: _converted(who, link[slot], getattr(theirs, field), _total(pair, slot, link, count))
        for slot, field in pair.counterpart.slots.items()
        if slot in link
    }
    if "count" in theirs._fields:
        fields["count"] = place(count, theirs.count)
    return theirs._replace(**fields)


def _total(pair: _Pair, slot: str, link: State, count: int) -> float:
    """What optax divides by to get the mean: 1 - decay^count."""
    decay = pair.counterpart.corrected.get(slot)
    if decay is None:
        return 1.0
    # As optax computes it: decay in float32, its power in double precision.
    return float(-np.expm1(count * np.log(np.float64(link.hyperparams[decay]))))


def _converted(who: str, source: PyTree, like: PyTree, scale: float) -> PyTree:
    """The arrays of one tree, times a number, in the shapes and places of the other."""
    flat = jax.tree_util.tree_flatten_with_path(source)[0]
    found = {path_string(path): np.asarray(x) for path, x in flat}

    def convert(path: Any, x: Any) -> Any:
        value = found.get(path_string(path))
        if value is None and x.size == 1:  # a stand-in for what is not kept
            return x
        if value is None or value.size != x.size:
            had = "nothing" if value is None else f"shape {value.shape}"
            raise ValueError(
                f"{who}: at '{path_string(path)}' there is {had}, where shape {x.shape} is needed. "
                "Pass states of the same parameters and options."
            )
        wide = value.astype(np.result_type(value.dtype, np.float64)) if scale != 1 else value
        return place((wide * scale if scale != 1 else wide).reshape(x.shape), x)

    return jax.tree_util.tree_map_with_path(convert, like)


def _with_links(node: PyTree, path: tuple[Any, ...], links: dict[tuple[Any, ...], State]) -> Any:
    """A tree with other links at their paths."""
    if path in links:
        return links[path]
    if isinstance(node, State):
        keys = (jax.tree_util.GetAttrKey(k) for k in node._fields)
        return State(
            **{
                k: _with_links(v, (*path, key), links)
                for key, (k, v) in zip(keys, node._asdict().items(), strict=True)
            }
        )
    return node
