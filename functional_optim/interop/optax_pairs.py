"""Finds the state of optax that corresponds to each state of this package."""

import dataclasses
import re
from collections.abc import Iterator

from ..core.protocol import PyTree
from ..core.rules.bound_rule import ENGINE_FIELDS
from ..core.rules.spec import RULE_NAMES
from ..core.state import State, nested_states
from ..core.state_types import ReduceLROnPlateauState
from ..core.trees.structure import path_string
from ..core.types import OptState
from ..serialization.names import is_link
from .optax_table import LINKS, REFUSED, Counterpart
from .optax_walk import states_of
from .optax_wrappers import PLATEAU, WRAPPERS, Wrapper

__all__ = ["Pair", "Path", "UpdateCounts", "links_of", "pair_up", "slots_of"]

Path = tuple[object, ...]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A state of optax and the corresponding state of this package.

    Attributes:
      theirs: optax's state.
      labels: labels of partitions, and names in chains, around optax's state.
      path: path of our state; None for injected hyperparameters, which may be in the links.
      ours: our state.
      counterpart: the conversion between the two.
    """

    theirs: OptState
    labels: frozenset[str]
    path: Path | None
    ours: State
    counterpart: Counterpart | Wrapper

    @property
    def count(self) -> int | None:
        """The number of updates of a link, if optax counts them."""
        counterpart = self.counterpart
        if not isinstance(counterpart, Counterpart):
            return None
        count = self._number(counterpart.count)
        return None if count is None else count - counterpart.first_count

    @property
    def passed_on(self) -> int | None:
        """The number of updates that a wrapper has passed on, if optax counts them."""
        counterpart = self.counterpart
        return self._number(counterpart.passed_on) if isinstance(counterpart, Wrapper) else None

    @property
    def is_wrapper(self) -> bool:
        """Whether the states belong to a wrapper, and not to a link."""
        return isinstance(self.counterpart, Wrapper)

    @property
    def counts_all_updates(self) -> bool:
        """Whether its count includes all updates, and not only a part of them."""
        counterpart = self.counterpart
        return isinstance(counterpart, Counterpart) and counterpart.counts_all_updates

    def _number(self, field: str | None) -> int | None:
        if field is None or field not in self.theirs._fields:
            return None
        return int(getattr(self.theirs, field))


def links_of(state: PyTree) -> Iterator[tuple[Path, State]]:
    """Yields the states of links within a state of this package, with their paths."""
    return ((path, node) for path, node in nested_states(state) if is_link(node))


def slots_of(link: State) -> list[str]:
    """Returns the names of a link's slots."""
    return [k for k in link._fields if k not in ENGINE_FIELDS]


def pair_up(function: str, theirs: OptState, ours: PyTree) -> list[Pair]:
    """Pairs the states of optax, in their order, with the corresponding states of this package.

    Raises:
      ValueError: a state has no counterpart, or cannot be converted.
    """
    remaining = list(_nodes(ours))
    names = {_key(part) for path, *_ in remaining for part in path}
    pairs: list[Pair] = []
    for state, all_labels in states_of(theirs):
        name, labels = type(state).__name__, all_labels & names
        if name in REFUSED:
            raise ValueError(f"{function}: optax's {name} {REFUSED[name]}")
        fitting = (
            (i, candidate)
            for i, (path, node) in enumerate(remaining)
            if labels <= set(map(_key, path))
            and (candidate := _counterpart(state, path, node)) is not None
        )
        first, counterpart = next(fitting, (None, None))
        if first is None or counterpart is None:
            if name in WRAPPERS and "hyperparams" in state._fields:
                pairs.append(Pair(state, labels, None, State(), WRAPPERS[name]))
                continue
            if (absorbing := _absorbing(name, remaining, labels)) is not None:
                pairs.append(Pair(state, labels, *absorbing, Counterpart((name,))))
                continue
            raise ValueError(_no_counterpart(function, name, [path for path, *_ in remaining]))
        path, node = remaining[first]
        pairs.append(Pair(state, labels, path, node, counterpart))
        # States of other labels may correspond to links before this one: they are in the order of
        # the keys of a dict, which a compiled program sorts.
        remaining = [x for i, x in enumerate(remaining) if i > first or (i < first and all_labels)]
    _check_slots(function, ours, {pair.path for pair in pairs})
    return pairs


class UpdateCounts:
    """The number of updates of each link.

    A wrapper may pass on only some updates. A link without a count in optax has had as many updates
    as the others within the same wrapper.
    """

    def __init__(self, function: str, pairs: list[Pair], count: int | None):
        self._wrappers = [p.path for p in pairs if p.is_wrapper and p.path is not None]
        self._by_link = {p.path: p.count for p in pairs if p.count is not None}
        self._by_scope: dict[Path, list[int]] = {}
        for p in pairs:
            if p.count is not None and p.path is not None and p.counts_all_updates:
                self._by_scope.setdefault(self._scope(p.path), []).append(p.count)
            if p.passed_on is not None:
                scope = () if p.path is None else (*p.path, _INNER)
                self._by_scope.setdefault(scope, []).append(p.passed_on)
        all_counts = [n for counts in self._by_scope.values() for n in counts]
        if count is None and not all_counts:
            raise ValueError(
                f"{function}: nothing in optax's state counts updates. Pass count=, the number of "
                "updates made."
            )
        self._default = max(all_counts) if count is None else count

    def __call__(self, path: Path) -> int:
        """Returns the number of updates of the link at a path."""
        counts = self._by_scope.get(self._scope(path), [self._default])
        return self._by_link.get(path, max(counts))

    def _scope(self, path: Path) -> Path:
        """Returns the innermost wrapper around a link; an empty path for the outermost links."""
        outer = [wrapper for wrapper in self._wrappers if _is_inside(path, wrapper)]
        return (*max(outer, key=len), _INNER) if outer else ()


_INNER = object()
"""The last part of the path of a scope within a wrapper."""


def _is_inside(path: Path, wrapper: Path) -> bool:
    return len(path) > len(wrapper) and path[: len(wrapper)] == wrapper


def _nodes(ours: PyTree) -> Iterator[tuple[Path, State]]:
    """Yields the states that may have a counterpart: links and wrappers."""
    for path, node in nested_states(ours):
        wrappers = (PLATEAU, *WRAPPERS.values())
        if is_link(node) or any(wrapper.is_ours(node) for wrapper in wrappers):
            yield path, node


def _counterpart(theirs: OptState, path: Path, node: State) -> Counterpart | Wrapper | None:
    """Returns the conversion between two states, or None if they do not correspond."""
    name = type(theirs).__name__
    if name in WRAPPERS:
        return WRAPPERS[name] if WRAPPERS[name].is_ours(node) else None
    if PLATEAU.is_ours(node):
        return PLATEAU if name == ReduceLROnPlateauState.__name__ else None
    if not is_link(node):
        return None
    link = _rule_of(path)
    if link in RULE_NAMES:
        counterpart = LINKS.get(link)
        return counterpart if counterpart is not None and name in counterpart.states else None
    # The last part is a label, or a name in a named chain: find the rule by its slots.
    possible = [counterpart for counterpart in LINKS.values() if name in counterpart.states]
    return next((x for x in possible if x.describes(theirs, node)), None)


def _absorbing(
    name: str, remaining: list[tuple[Path, State]], labels: frozenset[str]
) -> tuple[Path, State] | None:
    """Returns the link that keeps the count of a state of optax which has nothing else."""
    for path, node in remaining:
        counterpart = LINKS.get(_rule_of(path)) if is_link(node) else None
        if (
            counterpart is not None
            and name in counterpart.absorbs
            and labels <= set(map(_key, path))
        ):
            return path, node
    return None


def _rule_of(path: Path) -> str:
    return re.sub(r"_\d+$", "", _key(path[-1])) if path else ""


def _key(part: object) -> str:
    return path_string((part,))


def _no_counterpart(function: str, name: str, remaining: list[Path]) -> str:
    listed = ", ".join(path_string(path) for path in remaining) or "none"
    return (
        f"{function}: optax's {name} has no counterpart among the links that are left: {listed}. "
        "Make the same chain here, in the same order."
    )


def _check_slots(function: str, ours: PyTree, paired: set[Path | None]) -> None:
    """Raises ValueError if a state of this package has arrays, but no counterpart in optax."""
    unpaired = [path for path, node in links_of(ours) if path not in paired and slots_of(node)]
    unpaired += [p for p, node in _nodes(ours) if p not in paired and not is_link(node)]
    if unpaired:
        raise ValueError(
            f"{function}: optax's state has nothing for '{path_string(unpaired[0])}'. Make the "
            "same chain there, in the same order."
        )
