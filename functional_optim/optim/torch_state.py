"""Writing a state in torch's format: torch's names and numbering of what it keeps."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..core.state import State
from ..core.trees import path_string
from .biased import bias
from .groups import ParamGroup

if TYPE_CHECKING:
    from .torch_class import TorchOptimizer

__all__ = ["Entry", "Kept", "param_names", "torch_state"]

Entry = dict[str, Any]
"""What torch keeps for one parameter: name -> array."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """Where an entry of torch's state is kept.

    Attributes:
      link: name of the link.
      slot: name of the slot; `steps` for the count of a parameter's steps.
      decay: for a bias-corrected mean, which torch keeps biased: the name of its decay in
        the link's memory, and what reads it from the group's options.
    """

    link: str
    slot: str
    decay: tuple[str, Callable[[Mapping[str, Any]], float]] | None = None


def torch_state(optimizer: "TorchOptimizer") -> dict[str, Any]:
    """The optimizer's state and options as torch writes them."""
    entries: dict[int, Entry] = {}
    groups: list[dict[str, Any]] = []
    first = 0
    for group, state in zip(optimizer.param_groups, optimizer.whole_states(), strict=True):
        names = param_names(optimizer, len(groups), group)
        for i in range(len(names)):
            entry = _read_entry(optimizer.kept, state, group, i)
            if entry:
                entries[first + i] = entry
        numbers = list(range(first, first + len(names)))
        options = {k: _plain(v) for k, v in group.options.items()}
        options["count"] = max((int(link.count) for link in state), default=0)
        groups.append({**options, "params": numbers, "param_names": names})
        first += len(names)
    return {"state": entries, "param_groups": groups}


def param_names(optimizer: "TorchOptimizer", index: int, group: ParamGroup) -> list[str]:
    """Dotted paths of a group's parameters, with its number in front where trees are listed."""
    prefix = f"{index}." if optimizer._layout.as_list else ""
    flat = jax.tree_util.tree_flatten_with_path(group["params"])[0]
    return [prefix + path_string(path) for path, _ in flat]


def _read_entry(kept: Mapping[str, Kept], state: State, group: ParamGroup, i: int) -> Entry:
    """torch's entry for the parameter number `i` of a group; empty before its first step."""
    entry: Entry = {}
    for name, where in kept.items():
        link = state._asdict().get(where.link, State())
        if where.slot not in link or not int(link.steps[i]):
            continue
        memory = link._asdict().get("memory", {})
        if where.slot == "steps":
            entry[name] = np.asarray(link.steps[i], np.float32)
        elif float(memory.get("started", [1] * (i + 1))[i]):
            value = np.asarray(jax.tree.leaves(link[where.slot])[i])
            if where.decay is None:
                entry[name] = value
            else:
                last = float(memory[where.decay[0]][i])
                entry |= bias(name, value, int(link.steps[i]), last, where.decay[1](group))
    return entry


def _plain(value: Any) -> Any:
    """An option as plain data."""
    if isinstance(value, (tuple, list)):
        return tuple(_plain(v) for v in value)
    return np.asarray(value) if hasattr(value, "dtype") else value
