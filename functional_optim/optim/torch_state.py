"""Writing a state in torch's format: torch's names and numbering of what it keeps."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..core.protocol import NoSlot, PyTree
from ..core.state import State
from ..core.trees import leaf_paths
from .biased import bias
from .group import Group
from .named_state import COUNT

__all__ = [
    "Entry",
    "Kept",
    "entries_of",
    "is_no_slot",
    "param_names",
    "torch_state",
    "updates_made",
]

Entry = dict[str, Any]
"""What torch keeps for one parameter: name -> array."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """Where an entry of torch's state is kept.

    Attributes:
      link: name of the link.
      slot: name of the slot, or of a scalar in the link's memory; `steps` for the count of a
        parameter's steps.
      decay: for a bias-corrected mean, which torch keeps biased: the name of its decay in
        the link's memory, and what reads it from the group's options.
      at_start: whether torch has the entry before a parameter's first step.
      plain: whether torch's count of steps is an int, from which it computes in double precision.
    """

    link: str
    slot: str
    decay: tuple[str, Callable[[Mapping[str, Any]], float]] | None = None
    at_start: bool = False
    plain: bool = False

    def read(self, state: State) -> list[Any] | None:
        """What is kept for each parameter, or None if nothing is.

        A parameter that has no such slot has a `NoSlot` in its place.
        """
        link = state._asdict().get(self.link, State())
        if self.slot == "steps":
            return list(np.asarray(link.steps, np.float32)) if "steps" in link else None
        if self.slot in link:
            return jax.tree.leaves(link[self.slot], is_leaf=is_no_slot)
        memory = _memory(link)
        return list(memory[self.slot]) if self.slot in memory else None

    def is_scalar(self, state: State) -> bool:
        """Whether it is one number for a parameter."""
        return self.slot == "steps" or self.slot in _memory(state._asdict().get(self.link, State()))


def is_no_slot(x: Any) -> bool:
    """Whether x stands for a slot that a parameter does not have."""
    return isinstance(x, NoSlot)


def _memory(link: State) -> dict[str, np.ndarray[Any, Any]]:
    return {k: np.asarray(v) for k, v in link._asdict().get("memory", {}).items()}


def torch_state(
    groups: Sequence[Group], entries_of: Callable[[Group], list[Entry]]
) -> dict[str, Any]:
    """The state and options of groups as torch writes them.

    Args:
      groups: of the optimizer.
      entries_of: gives the entries of each parameter of a group.
    """
    entries: dict[int, Entry] = {}
    written: list[dict[str, Any]] = []
    first = 0
    for group, names in zip(groups, param_names([g.params for g in groups]), strict=True):
        for i, entry in enumerate(entries_of(group)):
            if entry:
                entries[first + i] = entry
        options = {k: _plain(v) for k, v in group.options.options.items()}
        options[COUNT] = updates_made(group.state)
        numbers = list(range(first, first + len(names)))
        written.append({**options, "params": numbers, "param_names": names})
        first += len(names)
    return {"state": entries, "param_groups": written}


def param_names(trees: Sequence[PyTree]) -> list[list[str]]:
    """Dotted paths of the groups' parameters, with the group's number where several have one."""
    paths = [leaf_paths(tree) for tree in trees]
    count = collections.Counter(name for names in paths for name in names)
    return [
        [name if count[name] == 1 else f"{i}.{name}" for name in names]
        for i, names in enumerate(paths)
    ]


def updates_made(state: State) -> int:
    """How many updates a group has had; a parameter may have had fewer."""
    return max((int(link.count) for link in state if "count" in link), default=0)


def _whole_state(group: Group) -> State:
    """The state of a group, with the slots that its options have no use for now."""
    links = group.state._asdict().items()
    return State(
        **{name: State(**link._asdict(), **group.parked.get(name, {})) for name, link in links}
    )


def entries_of(kept: Mapping[str, Kept], group: Group) -> list[Entry]:
    """torch's entries for the parameters of a group; most start with a parameter's first step."""
    state, n = _whole_state(group), len(jax.tree.leaves(group.params))
    entries: list[Entry] = [{} for _ in range(n)]
    for name, where in kept.items():
        values = where.read(state)
        if values is None:
            continue
        link = state[where.link]
        steps = np.asarray(link.steps)
        memory = _memory(link)
        started = np.ones(n, bool) if where.at_start else steps > 0
        if where.slot != "steps":
            started &= memory.get("started", np.ones(n)) != 0
        for i in np.flatnonzero(started):
            if is_no_slot(values[i]):
                continue
            if where.plain:
                entries[i][name] = int(values[i])
            elif where.decay is None:
                entries[i][name] = np.asarray(values[i])
            else:
                last = float(memory[where.decay[0]][i])
                now = where.decay[1](group.options)
                now = last if callable(now) else now  # a schedule's value is not an option
                entries[i] |= bias(name, np.asarray(values[i]), int(steps[i]), last, now)
    return entries


def _plain(value: Any) -> Any:
    """An option as plain data."""
    if isinstance(value, (tuple, list)):
        return tuple(_plain(v) for v in value)
    return np.asarray(value) if hasattr(value, "dtype") else value
