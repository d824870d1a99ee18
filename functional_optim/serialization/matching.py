"""Finding for each name of a state the saved array that belongs there."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from ..core.leaves import ENGINE_FIELDS
from .naming import Name

__all__ = ["Match", "match"]

_OWN = tuple(k for k in ENGINE_FIELDS if k not in ("steps", "memory"))
"""Fields that are of a link, and of no one parameter."""


@dataclasses.dataclass
class Match:
    """Which saved array goes where.

    Attributes:
      found: name here -> name there.
      settled: names, here and there, of what is left as the template has it, and for a reason.
      moved: name here -> name there, of those found that stood under another link or label.
    """

    found: dict[str, str]
    settled: set[str]
    moved: dict[str, str]

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Names here that have nothing, and no reason for it."""
        return [k for k in wanted if k not in self.found and k not in self.settled]

    def unexpected(self, saved: Iterable[str]) -> list[str]:
        """Names there that go nowhere, and have no reason for it."""
        used = set(self.found.values())
        return [k for k in saved if k not in used and k not in self.settled]


def match(wanted: Mapping[str, Name], saved: Mapping[str, Any]) -> Match:
    """Finds for each wanted name the saved one.

    It has the same name; or the same link and path within it, under another label, or within
    another wrapper, where only one such is left.
    """
    changed = _changed_kind(wanted, saved)
    result = Match({k: k for k in wanted if k in saved and k not in changed}, changed, {})
    _find_moved(result, wanted, saved)
    _settle_labels(result, wanted, saved)
    return result


def _changed_kind(wanted: Mapping[str, Name], saved: Collection[str]) -> set[str]:
    """Names of hyperparameters that follow another kind of schedule than they did, or none."""
    here, there = _numbers(wanted), _numbers(saved)
    changed: set[str] = set()
    for key in here.keys() & there.keys():
        if here[key] != there[key]:
            changed |= here[key] | there[key]
    return changed


def _numbers(names: Iterable[str]) -> dict[tuple[str, str], set[str]]:
    """Link and hyperparameter -> the names of its value and of its schedule's numbers."""
    result: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name in names:
        for field in ("hyperparams", "schedules"):
            link, found, rest = f".{name}".rpartition(f".{field}.")
            if found:
                result[link, rest.split(".")[0]].add(name)
    return result


def _find_moved(result: Match, wanted: Mapping[str, Name], saved: Collection[str]) -> None:
    by_end: dict[str, list[str]] = defaultdict(list)
    for name in result.unexpected(saved):
        parts = name.split(".")
        for i in range(len(parts)):
            by_end[".".join(parts[i:])].append(name)
    for name in result.missing(wanted):
        link = wanted[name].link
        candidates = by_end.get(_within(name, _holder(link)), []) if link else []
        if len(candidates) == 1:
            result.found[name] = result.moved[name] = candidates[0]
    times = Counter(result.moved.values())
    for here, there in list(result.moved.items()):
        if times[there] > 1:
            del result.found[here], result.moved[here]


def _settle_labels(result: Match, wanted: Mapping[str, Name], saved: Mapping[str, Any]) -> None:
    """Settles what labels have of their own where their parameters came from other labels."""
    sources: dict[str, set[str]] = defaultdict(set)
    for here, there in result.moved.items():
        if wanted[here].leaf is not None:
            holder = _holder(wanted[here].link or "")
            sources[holder].add(_without_end(there, _within(here, holder)))
    there_before = {_owner(name) for name in saved}
    taken_from: set[tuple[str, str]] = set()
    for name in wanted:
        link = wanted[name].link
        if link is None or wanted[name].leaf is not None:
            continue
        holder = _holder(link)
        origins = {(source, _within(link, holder)) for source in sources.get(holder, ())}
        taken_from |= origins
        if name not in result.found and origins & there_before:
            result.settled.add(name)
            if wanted[name].field == "count":  # a schedule goes on where it was
                ends = [_joined(source, _within(name, holder)) for source, _ in origins]
                counts = {k: np.max(np.asarray(saved[k])) for k in ends if k in saved}
                if counts:
                    result.found[name] = max(counts, key=lambda k: counts[k])
    result.settled |= {name for name in result.unexpected(saved) if _owner(name) in taken_from}


def _holder(link: str) -> str:
    """The path of what holds a link."""
    return link.rpartition(".")[0]


def _within(name: str, holder: str) -> str:
    return name[len(holder) :].removeprefix(".")


def _without_end(name: str, end: str) -> str:
    return name[: -len(end)].removesuffix(".")


def _joined(holder: str, end: str) -> str:
    return f"{holder}.{end}" if holder else end


def _owner(name: str) -> tuple[str, str] | None:
    """For what is a link's own, the path of what holds the link, and its name there."""
    parts = name.split(".")
    own = [i for i, part in enumerate(parts) if part in _OWN and i]
    return (".".join(parts[: own[0] - 1]), parts[own[0] - 1]) if own else None
