"""Makes the state of a group from torch's entries, after checking them."""

from collections.abc import Collection, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ...core.protocol import PyTree
from ...core.state import State
from ...serialization.placing import has_shape
from ..conversions import as_numpy
from ..hyperparams import DormantSlots
from .checks import is_count, numbers_problem
from .entries import ParamState, StateEntry, is_no_slot, place
from .match import SavedGroup

__all__ = ["any_has", "fill_state", "read_dormant_slots"]


def fill_state(
    owner: str,
    entries: Mapping[str, StateEntry],
    optional: Collection[str],
    saved: SavedGroup,
    params: PyTree,
    fresh: State,
) -> State:
    """Returns the fresh state of a group, filled with the saved entries.

    Args:
      owner: name of the calling function, for errors.
      entries: torch's name of an entry -> its place in the state.
      optional: entries that a parameter may lack.
      saved: the group in the file.
      params: parameters of the group.
      fresh: state of the group before the first step.

    Raises:
      ValueError: the entries do not fit this optimizer and these parameters.
    """
    _check_entries(owner, entries, optional, saved, fresh, jax.tree.leaves(params))
    count = saved.steps
    if count is None:  # torch counts for each parameter only
        count = max((_step(state, 0) for state in saved.states), default=0)
    links = {
        name: _fill_link(entries, name, link, saved.states, count)._replace(
            **({"count": place(count, link.count)} if "count" in link else {})
        )
        for name, link in fresh._asdict().items()
    }
    return State(**links)


def any_has(states: list[ParamState], name: str) -> bool:
    """Tells whether any parameter has an entry."""
    return any(state.get(name) is not None for state in states)


def _step(state: ParamState, default: int) -> int:
    return default if state.get("step") is None else int(as_numpy(state["step"]).item())


def _check_entries(
    owner: str,
    entries: Mapping[str, StateEntry],
    optional: Collection[str],
    saved: SavedGroup,
    fresh: State,
    params: list[PyTree],
) -> None:
    """Raises ValueError if entries are missing, unknown, or of another shape."""
    problems: list[str] = []
    # An entry that the present options do not use has the shape of the parameter.
    slots = {k: entry.read(fresh, len(params)) for k, entry in sorted(entries.items())}
    values = {k: params if of_params is None else of_params for k, of_params in slots.items()}
    needed = {k for k, of_params in slots.items() if of_params is not None} - set(optional)
    for i, (name, state) in enumerate(zip(saved.names, saved.states, strict=True)):
        present = {k: v for k, v in state.items() if v is not None and not _is_ulps(k)}
        expected = {
            k: of_params[i] for k, of_params in values.items() if not is_no_slot(of_params[i])
        }
        for k, v in present.items():
            if k not in expected:
                problems.append(f"'{name}' has an entry {k!r}, which is not kept here")
            elif (problem := numbers_problem(v)) is not None:
                problems.append(f"'{name}': {k!r} {problem}")
            elif np.iscomplexobj(as_numpy(v)) and not np.iscomplexobj(expected[k]):
                problems.append(f"'{name}': {k!r} is complex, and real here")
            elif entries[k].is_scalar(fresh) and np.prod(np.shape(v)) != 1:
                problems.append(f"'{name}': {k!r} has shape {np.shape(v)}, and is one number")
            elif entries[k].slot == "leaf_counts" and not is_count(v):
                problems.append(f"'{name}': {k!r} is {v}, and not a number of updates")
            elif not entries[k].is_scalar(fresh) and not has_shape(v, expected[k].shape):
                owner_of_shape = "the parameter" if expected[k].shape == params[i].shape else "here"
                problems.append(
                    f"'{name}': {k!r} has shape {np.shape(v)}, {owner_of_shape} {expected[k].shape}"
                )
        if present:
            missing = [k for k in expected if k in needed and k not in present]
            problems += [f"'{name}' has no entry {k!r}" for k in missing]
    if problems:
        raise ValueError(
            f"{owner}: the saved state is of another optimizer or other parameters: "
            f"{'; '.join(problems[:12])}. Nothing was loaded."
        )


def _is_ulps(name: str) -> bool:
    """Tells whether only older versions of this library have an entry; it is not read."""
    return name.endswith("_ulp")


def _fill_link(
    entries: Mapping[str, StateEntry],
    name: str,
    link: State,
    states: list[ParamState],
    count: int,
) -> State:
    """Returns the state of one link, filled with the saved entries."""
    state = State(**{name: link})
    slots = {
        k: entry.slot
        for k, entry in entries.items()
        if entry.link == name
        and entry.slot != "leaf_counts"
        and entry.read(state, len(states)) is not None
    }
    started = np.array([any(state.get(k) is not None for k in slots) for state in states])
    fields: dict[str, PyTree] = {}
    if "leaf_counts" in link:
        # If torch has no step, only the difference between none and some matters.
        defaults = np.where(started, max(count, 1), 0)
        counts = [_step(state, int(n)) for state, n in zip(states, defaults, strict=True)]
        fields["leaf_counts"] = place(counts, link.leaf_counts)
    carry = dict(link._asdict().get("carry", {}))
    if "started" in carry:
        carry["started"] = place(started, carry["started"])
    whole = dict(link._asdict().get("scalars", {}))
    for k, slot in slots.items():
        if slot in carry:
            carry[slot] = _fill_scalars(k, carry[slot], states)
        elif slot in whole:
            whole[slot] = _fill_number(k, whole[slot], states)
        else:
            fields[slot] = _fill_slot(k, link[slot], states)
    fields |= {"carry": carry} if carry else {}
    fields |= {"scalars": whole} if whole else {}
    return link._replace(**fields)


def _fill_scalars(name: str, old: jax.Array, states: list[ParamState]) -> jax.Array:
    """Returns the scalars `(n,)`, with the entries of the parameters that have one."""
    new = np.array(old)
    for i, state in enumerate(states):
        if state.get(name) is not None:
            new[i] = as_numpy(state[name]).item()
    return place(new, old)


def _fill_number(name: str, old: jax.Array, states: list[ParamState]) -> jax.Array:
    """Returns a scalar `()` of all parameters, which each of those that have an entry has."""
    saved = [as_numpy(state[name]).item() for state in states if state.get(name) is not None]
    return place(np.reshape(saved[0], np.shape(old)), old) if saved else old


def _fill_slot(name: str, slot: PyTree, states: list[ParamState]) -> PyTree:
    """Returns a slot, with the entries of the parameters that have one."""
    leaves, treedef = jax.tree.flatten(slot, is_leaf=is_no_slot)
    new = [
        old if state.get(name) is None else place(state[name], old)
        for old, state in zip(leaves, states, strict=True)
    ]
    return jax.tree.unflatten(treedef, new)


def read_dormant_slots(
    entries: Mapping[str, StateEntry], state: State, states: list[ParamState], params: PyTree
) -> DormantSlots:
    """Returns the saved slots that the present options of a group do not use."""
    dormant: DormantSlots = {}
    for k, entry in entries.items():
        if entry.link in state and entry.read(state, len(states)) is None and any_has(states, k):
            zeros = jax.tree.map(jnp.zeros_like, params)
            dormant.setdefault(entry.link, {})[entry.slot] = _fill_slot(k, zeros, states)
    return dormant
