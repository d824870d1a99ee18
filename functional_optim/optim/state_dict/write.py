"""Writes a state in torch's format, with torch's names and numbers."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ...core.protocol import PyTree
from ...core.state import State
from ...core.trees.structure import leaf_paths
from ..step.optimizer_group import OptimizerGroup
from .entries import (
    COUNT,
    ParamState,
    StateEntry,
    carried_scalars,
    counts_of_parameters,
    is_no_slot,
)

__all__ = ["param_names", "param_states", "torch_state_dict", "updates_made"]


def torch_state_dict(
    groups: Sequence[OptimizerGroup],
    states_of: Callable[[OptimizerGroup], list[ParamState]],
) -> dict[str, Any]:
    """Writes states and options of groups as torch does.

    Args:
      groups: groups of the optimizer.
      states_of: returns torch's state of each parameter of a group.
    """
    states: dict[int, ParamState] = {}
    param_groups: list[dict[str, PyTree]] = []
    first = 0
    for group, names in zip(groups, param_names([g.params for g in groups]), strict=True):
        states |= {first + i: state for i, state in enumerate(states_of(group)) if state}
        options = {k: _as_plain_data(v) for k, v in group.options.options.items()}
        options[COUNT] = updates_made(group.state)
        numbers = list(range(first, first + len(names)))
        param_groups.append({**options, "params": numbers, "param_names": names})
        first += len(names)
    return {"state": states, "param_groups": param_groups}


def param_names(trees: Sequence[PyTree]) -> list[list[str]]:
    """Names the groups' parameters by their dotted paths; all names differ.

    A path that several groups have gets the number of the group in front. If that makes it another
    group's path, all paths get the number.
    """
    paths = [leaf_paths(tree) for tree in trees]
    count = collections.Counter(path for of_group in paths for path in of_group)
    names = [
        [path if count[path] == 1 else f"{i}.{path}" for path in of_group]
        for i, of_group in enumerate(paths)
    ]
    flat = [name for of_group in names for name in of_group]
    if len(set(flat)) == len(flat):
        return names
    return [[f"{i}.{path}" for path in of_group] for i, of_group in enumerate(paths)]


def updates_made(state: State) -> int:
    """Returns the number of updates of a group; some parameters may have had fewer."""
    return max((int(link.count) for link in state if "count" in link), default=0)


def param_states(entries: Mapping[str, StateEntry], group: OptimizerGroup) -> list[ParamState]:
    """Returns torch's state of each parameter of a group.

    Most entries exist from a parameter's first step on, or were in the state that was loaded.
    """
    state, n = _with_dormant_slots(group), len(jax.tree.leaves(group.params))
    loaded = np.isin(np.arange(n), list(group.loaded))
    states: list[ParamState] = [{} for _ in range(n)]
    for name, entry in entries.items():
        values = entry.read(state, n)
        if values is None:
            continue
        link = state[entry.link]
        exists = np.ones(n, bool)
        if not entry.at_start:
            exists = (counts_of_parameters(link, n) > 0) | loaded
        if entry.slot != "leaf_counts":
            # A momentum buffer exists once it has received a gradient.
            exists &= carried_scalars(link, n).get("started", np.ones(n)) != 0
        for i in np.flatnonzero(exists):
            if not is_no_slot(values[i]):
                states[i][name] = int(values[i]) if entry.is_int else np.array(values[i])
    return states


def _with_dormant_slots(group: OptimizerGroup) -> State:
    """Returns the state of a group, including the slots that its present options do not use."""
    links = group.state._asdict().items()
    return State(
        **{
            name: State(**link._asdict(), **group.dormant_slots.get(name, {}))
            for name, link in links
        }
    )


def _as_plain_data(value: PyTree) -> PyTree:
    """Returns an option with arrays of JAX as arrays of NumPy."""
    if isinstance(value, (tuple, list)):
        return tuple(_as_plain_data(v) for v in value)
    return np.asarray(value) if hasattr(value, "dtype") else value
