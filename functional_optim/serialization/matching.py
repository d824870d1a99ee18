"""Finds, for each name of a state, the saved array that belongs there."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from ..core.rules.bound_rule import ENGINE_FIELDS
from .names import LEAF_SCALARS, Name, dotted
from .placing import SavedArray, dtype_of

__all__ = ["Match", "in_field", "match", "parent"]

_LINK_FIELDS = tuple(k for k in ENGINE_FIELDS if k not in LEAF_SCALARS)
"""Fields that belong to a link as a whole."""


@dataclasses.dataclass
class Match:
    """Assigns saved arrays to names of a target.

    Attributes:
      sources: name in the target -> name in the saved state.
      kept: names, of target and saved state, that keep the target's value on purpose.
      moved: the part of `sources` that was saved under another link or label.
    """

    sources: dict[str, str]
    kept: set[str]
    moved: dict[str, str]

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Returns the names of the target that have no saved array and are not kept on purpose."""
        return [k for k in wanted if k not in self.sources and k not in self.kept]

    def unexpected(self, saved: Iterable[str]) -> list[str]:
        """Returns the saved names that have no place and are not kept on purpose."""
        used = set(self.sources.values())
        return [k for k in saved if k not in used and k not in self.kept]


def match(
    wanted: Mapping[str, Name], saved: Mapping[str, SavedArray], own_fields: Collection[str] = ()
) -> Match:
    """Finds the saved array for each wanted name.

    The array has the same name; or, under another label or wrapper, the same link and the same path
    within the link, if only one such array is left.

    Args:
      wanted: name in the target -> its place.
      saved: name -> array.
      own_fields: fields of links for which the target keeps its own values.
    """
    kept = _changed_schedules(wanted, saved)
    kept |= {k for k, name in wanted.items() if name.link is not None and name.field in own_fields}
    kept |= {k for k in saved if in_field(k, saved, own_fields)}
    result = Match({k: k for k in wanted if k in saved and k not in kept}, kept, {})
    _match_moved(result, wanted, saved)
    _keep_label_fields(result, wanted, saved)
    return result


def parent(link: str) -> str:
    """Returns the path of the chain or wrapper that contains a link."""
    return link.rpartition(".")[0]


def in_field(name: str, saved: Mapping[str, SavedArray], fields: Collection[str]) -> bool:
    """Tells whether a saved array belongs to one of these fields of a link.

    A parameter may have the name of a field, but only a link has a count next to it.
    """
    parts = name.split(".")
    found = (i for i, part in enumerate(parts) if part in fields)
    return any(_is_count(saved.get(".".join([*parts[:i], "count"]))) for i in found)


def _is_count(x: SavedArray | None) -> bool:
    return x is not None and np.issubdtype(dtype_of(x), np.integer)


def _changed_schedules(wanted: Mapping[str, Name], saved: Collection[str]) -> set[str]:
    """Returns the names of hyperparameters whose schedule was added, removed or replaced.

    The numbers of a schedule identify it: a set of other names is another schedule.
    """
    target, source = _hyperparam_names(wanted), _hyperparam_names(saved)
    changed: set[str] = set()
    for key in target.keys() & source.keys():
        if target[key] != source[key]:
            changed |= target[key] | source[key]
    return changed


def _hyperparam_names(names: Iterable[str]) -> dict[tuple[str, str], set[str]]:
    """Maps link and hyperparameter to the names of its value and of its schedule's numbers."""
    result: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name in names:
        for field in ("hyperparams", "schedules"):
            link, separator, rest = f".{name}".rpartition(f".{field}.")
            if separator:
                result[link, rest.split(".")[0]].add(name)
    return result


def _match_moved(result: Match, wanted: Mapping[str, Name], saved: Collection[str]) -> None:
    """Matches names by link and path, whatever wrapper or label contains the link."""
    by_end: dict[str, list[str]] = defaultdict(list)
    for name in result.unexpected(saved):
        parts = name.split(".")
        for i in range(len(parts)):
            by_end[".".join(parts[i:])].append(name)
    for name in result.missing(wanted):
        link = wanted[name].link
        candidates = by_end.get(_relative_path(name, parent(link)), []) if link else []
        if len(candidates) == 1:
            result.sources[name] = result.moved[name] = candidates[0]
    # A saved array that fits several names is not assigned to any of them.
    times = Counter(result.moved.values())
    for target, source in list(result.moved.items()):
        if times[source] > 1:
            del result.sources[target], result.moved[target]


def _keep_label_fields(
    result: Match, wanted: Mapping[str, Name], saved: Mapping[str, SavedArray]
) -> None:
    """Keeps the hyperparameters and counts of labels whose parameters came from other labels."""
    origins: dict[str, set[str]] = defaultdict(set)
    for target, source in result.moved.items():
        if wanted[target].is_slot:
            to = parent(wanted[target].link or "")
            origins[to].add(_without_end(source, _relative_path(target, to)))
    saved_links = {_split_link(name) for name in saved}
    used_links: set[tuple[str, str]] = set()
    for name in wanted:
        link = wanted[name].link
        if link is None or wanted[name].leaf is not None:
            continue
        to = parent(link)
        sources = {(origin, _relative_path(link, to)) for origin in origins.get(to, ())}
        used_links |= sources
        if name not in result.sources and sources & saved_links:
            result.kept.add(name)
            if wanted[name].field == "count":  # so that a schedule continues where it was
                names = [dotted(origin, _relative_path(name, to)) for origin, _ in sources]
                counts = {k: np.max(np.asarray(saved[k])) for k in names if k in saved}
                if counts:
                    result.sources[name] = max(counts, key=lambda k: counts[k])
    result.kept |= {k for k in result.unexpected(saved) if _split_link(k) in used_links}


def _relative_path(name: str, prefix: str) -> str:
    return name[len(prefix) :].removeprefix(".")


def _without_end(name: str, end: str) -> str:
    return name[: -len(end)].removesuffix(".")


def _split_link(name: str) -> tuple[str, str] | None:
    """Splits the path of a link's field: the path of the link's container, and the link's name."""
    parts = name.split(".")
    fields = [i for i, part in enumerate(parts) if part in _LINK_FIELDS and i]
    return (".".join(parts[: fields[0] - 1]), parts[fields[0] - 1]) if fields else None
