"""Which state of optax holds the same as which one here."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from ..core.leaves import ENGINE_FIELDS
from ..core.protocol import PyTree
from ..core.state import State, nested_states
from ..core.trees import path_string
from .optax_table import LINKS, REFUSED, Counterpart
from .optax_walk import states_of
from .optax_wrappers import WRAPPERS, Wrapper

__all__ = ["Clock", "Pair", "links_of", "pair_up", "slots_of"]

Path = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A state of optax and the one here that holds the same.

    Attributes:
      theirs: optax's.
      labels: labels of partitions, and names in chains, that it is under there.
      path: where the one here is; None for injected hyperparameters, which may be the links' own.
      ours: the one here.
      counterpart: how they correspond.
    """

    theirs: Any
    labels: frozenset[str]
    path: Path | None
    ours: State
    counterpart: Counterpart | Wrapper

    @property
    def count(self) -> int | None:
        """How many updates a link has had, where optax counts them."""
        about = self.counterpart
        return self._number(about.count) if isinstance(about, Counterpart) else None

    @property
    def made(self) -> int | None:
        """How many updates a wrapper has passed on, where optax counts them."""
        about = self.counterpart
        return self._number(about.made) if isinstance(about, Wrapper) else None

    @property
    def is_wrapper(self) -> bool:
        """Whether it is of a wrapper, and not of a link."""
        return isinstance(self.counterpart, Wrapper)

    @property
    def counts_for_others(self) -> bool:
        """Whether its count is that of all updates, and not of a part of them."""
        about = self.counterpart
        return isinstance(about, Counterpart) and about.count == "count" and not about.period

    def _number(self, field: str | None) -> int | None:
        if field is None or field not in self.theirs._fields:
            return None
        return int(getattr(self.theirs, field))


def links_of(state: PyTree) -> Iterator[tuple[Path, State]]:
    """The links within a state here, with their paths."""
    for path, node in nested_states(state):
        if {"count", "hyperparams"} <= set(node._fields) and "inner_state" not in node:
            yield path, node


def slots_of(link: State) -> list[str]:
    """Names of what a link keeps for each parameter."""
    return [k for k in link._fields if k not in ENGINE_FIELDS]


def pair_up(who: str, theirs: Any, ours: PyTree) -> list[Pair]:
    """The states of optax, in their order, with those that hold the same.

    Raises:
      ValueError: one of them has none, or cannot be taken over.
    """
    left = list(_nodes(ours))
    names = {_key(part) for path, *_ in left for part in path}
    pairs: list[Pair] = []
    for state, labels in states_of(theirs):
        name, labels = type(state).__name__, labels & names
        if name in REFUSED:
            raise ValueError(f"{who}: optax's {name} {REFUSED[name]}")
        fitting = (
            i
            for i, (path, node, counterpart) in enumerate(left)
            if _fits(name, node, counterpart) and labels <= set(map(_key, path))
        )
        found = next(fitting, None)
        if found is None:
            if name in WRAPPERS and "hyperparams" in state._fields:
                pairs.append(Pair(state, labels, None, State(), WRAPPERS[name]))
                continue
            raise ValueError(_without(who, name, [path for path, *_ in left]))
        path, node, counterpart = left[found]
        pairs.append(Pair(state, labels, path, node, WRAPPERS.get(name, counterpart)))
        # Of another label's links, those before it are still to come.
        left = [x for i, x in enumerate(left) if i > found or (i < found and labels)]
    _check_slots(who, ours, {pair.path for pair in pairs})
    return pairs


class Clock:
    """How many updates each link has had.

    A wrapper may pass some on only: what nothing counts was updated as often as others within
    the same wrapper.
    """

    def __init__(self, who: str, pairs: list[Pair], count: int | None):
        self._wrappers = [p.path for p in pairs if p.is_wrapper and p.path is not None]
        self._own = {p.path: p.count for p in pairs if p.count is not None}
        self._counts: dict[Path, list[int]] = {}
        for p in pairs:
            if p.count is not None and p.path is not None and p.counts_for_others:
                self._counts.setdefault(self._scope(p.path), []).append(p.count)
            if p.made is not None:
                within = () if p.path is None else (*p.path, _INNER)
                self._counts.setdefault(within, []).append(p.made)
        known = [n for counts in self._counts.values() for n in counts]
        if count is None and not known:
            raise ValueError(
                f"{who}: nothing in optax's state counts updates. Pass count=, how many were made."
            )
        self._otherwise = max(known) if count is None else count

    def __call__(self, path: Path) -> int:
        """The updates of the link at a path."""
        counts = self._counts.get(self._scope(path), [self._otherwise])
        return self._own.get(path, max(counts))

    def _scope(self, path: Path) -> Path:
        """The innermost wrapper that a link is in; for the outermost links, none."""
        around = [wrapper for wrapper in self._wrappers if _is_in(path, wrapper)]
        return (*max(around, key=len), _INNER) if around else ()


_INNER = object()
"""Behind a wrapper's path, what is within it."""


def _is_in(path: Path, wrapper: Path) -> bool:
    return len(path) > len(wrapper) and path[: len(wrapper)] == wrapper


def _nodes(ours: PyTree) -> Iterator[tuple[Path, State, Any]]:
    """What may have a counterpart: links by their names, and wrappers."""
    links = dict(links_of(ours))
    for path, node in nested_states(ours):
        if path in links:
            yield path, node, LINKS.get(re.sub(r"_\d+$", "", _key(path[-1]))) if path else None
        elif any(wrapper.is_ours(node) for wrapper in WRAPPERS.values()):
            yield path, node, None


def _fits(name: str, node: State, counterpart: Counterpart | None) -> bool:
    if name in WRAPPERS:
        return WRAPPERS[name].is_ours(node)
    return counterpart is not None and name in counterpart.states


def _key(part: Any) -> str:
    return path_string((part,))


def _without(who: str, name: str, left: list[Path]) -> str:
    listed = ", ".join(path_string(path) for path in left) or "none"
    alone = " A link alone has no name: put it into chain()." if () in left else ""
    return (
        f"{who}: optax's {name} has no counterpart among the links that are left: {listed}. Make "
        f"the same chain here, in the same order.{alone}"
    )


def _check_slots(who: str, ours: PyTree, paired: set[Path | None]) -> None:
    """That nothing here keeps something which optax has nothing for."""
    alone = [path for path, node in links_of(ours) if path not in paired and slots_of(node)]
    alone += [p for p, _, c in _nodes(ours) if p not in paired and p not in dict(links_of(ours))]
    if alone:
        raise ValueError(
            f"{who}: optax's state has nothing for '{path_string(alone[0])}'. Make the same chain "
            "there, in the same order."
        )
