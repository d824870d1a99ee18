"""Making the state of a group out of torch's entries, checked before anything is taken over."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from ..core.protocol import PyTree
from ..core.renumber import Parked
from ..core.state import State
from .biased import unbias
from .named_state import place
from .plain import as_numpy
from .torch_file import SavedGroup
from .torch_state import Entry, Kept, is_no_slot

__all__ = ["any_has", "fill_state", "park_rest"]


def fill_state(
    who: str,
    kept: Mapping[str, Kept],
    optional: Collection[str],
    saved: SavedGroup,
    options: Mapping[str, Any],
    params: PyTree,
    fresh: State,
) -> State:
    """The fresh state of a group with what was saved.

    Args:
      who: what is called, for errors.
      kept: torch's name of an entry -> where it is kept.
      optional: entries that a parameter may lack.
      saved: the group in the file.
      options: of the group, as they become.
      params: of the group.
      fresh: its state before the first step.

    Raises:
      ValueError: the entries are not those of this optimizer and these parameters.
    """
    _check_entries(who, kept, optional, saved, fresh, jax.tree.leaves(params))
    count = saved.steps
    if count is None:  # torch counts by parameter only
        count = max((_step(entry, 0) for entry in saved.entries), default=0)
    links = {
        name: _fill(kept, name, link, saved.entries, options, count)._replace(
            **({"count": place(count, link.count)} if "count" in link else {})
        )
        for name, link in fresh._asdict().items()
    }
    return State(**links)


def any_has(entries: list[Entry], name: str) -> bool:
    """Whether any parameter has an entry."""
    return any(entry.get(name) is not None for entry in entries)


def _step(entry: Entry, default: int) -> int:
    return default if entry.get("step") is None else int(as_numpy(entry["step"]))


def _check_entries(
    who: str,
    kept: Mapping[str, Kept],
    optional: Collection[str],
    saved: SavedGroup,
    state: State,
    params: list[Any],
) -> None:
    problems: list[str] = []
    slots = {k: w.read(state) or params for k, w in sorted(kept.items())}
    needed = {k for k, w in kept.items() if w.read(state) is not None} - set(optional)
    for i, (name, entry) in enumerate(zip(saved.names, saved.entries, strict=True)):
        given = {k: v for k, v in entry.items() if v is not None and not k.endswith("_ulp")}
        own = {k: values[i] for k, values in slots.items() if not is_no_slot(values[i])}
        for k, v in given.items():
            if k not in own:
                problems.append(f"'{name}' has an entry {k!r}, which is not kept here")
            elif kept[k].is_scalar(state) and np.prod(np.shape(v)) != 1:
                problems.append(f"'{name}': {k!r} has shape {np.shape(v)}, and is one number")
            elif not kept[k].is_scalar(state) and np.shape(v) != own[k].shape:
                of = "the parameter" if own[k].shape == params[i].shape else "here"
                problems.append(f"'{name}': {k!r} has shape {np.shape(v)}, {of} {own[k].shape}")
        if given:
            missing = [k for k in own if k in needed and k not in given]
            problems += [f"'{name}' has no entry {k!r}" for k in missing]
    if problems:
        raise ValueError(
            f"{who}: the saved state is of another optimizer or other parameters: "
            f"{'; '.join(problems[:12])}. Nothing was loaded."
        )


def _fill(
    kept: Mapping[str, Kept],
    name: str,
    link: State,
    entries: list[Entry],
    options: Mapping[str, Any],
    count: int,
) -> State:
    """The state of one link, with what was saved for it."""
    own = {k: w for k, w in kept.items() if w.link == name and w.slot != "steps"}
    own = {k: w for k, w in own.items() if w.read(State(**{name: link})) is not None}
    if not own and "steps" in link:  # it counts, and keeps nothing else
        return link._replace(steps=place([_step(e, 0) for e in entries], link.steps))
    if not own:
        return link
    started = np.array([any(e.get(k) is not None for k in own) for e in entries])
    steps = [_step(e, 1) if s else 0 for e, s in zip(entries, started, strict=True)]
    memory = dict(link._asdict().get("memory", {}))
    if "started" in memory:
        memory["started"] = place(started, memory["started"])
    fields: dict[str, Any] = {}
    for k, where in own.items():
        if where.slot in memory:
            memory[where.slot] = _fill_scalars(k, memory[where.slot], entries)
            continue
        decay = None if where.decay is None else _last(where.decay[1](options), count)
        fields[where.slot] = _fill_slot(k, link[where.slot], entries, steps, decay)
        if where.decay is not None:
            memory[where.decay[0]] = place(started * decay, memory[where.decay[0]])
    fields |= {"memory": memory} if memory else {}
    return link._replace(steps=place(steps, link.steps), **fields)


def _last(decay: Any, count: int) -> float:
    """A decay as the last update used it."""
    return float(decay(max(count - 1, 0)) if callable(decay) else decay)


def _fill_scalars(name: str, old: jax.Array, entries: list[Entry]) -> jax.Array:
    """A scalar of each parameter with the entries of those that have one."""
    new = np.array(old)
    for i, entry in enumerate(entries):
        if entry.get(name) is not None:
            new[i] = as_numpy(entry[name]).item()
    return place(new, old)


def _fill_slot(
    name: str, slot: PyTree, entries: list[Entry], steps: list[int], decay: float | None
) -> PyTree:
    """A slot with the entries of the parameters that have one; others stay as they start."""
    old, treedef = jax.tree.flatten(slot, is_leaf=is_no_slot)
    new = list(old)
    for i, (entry, step) in enumerate(zip(entries, steps, strict=True)):
        if entry.get(name) is not None:
            value = entry[name] if decay is None else unbias(name, entry, step, decay, old[i])
            new[i] = place(value, old[i])
    return jax.tree.unflatten(treedef, new)


def park_rest(
    kept: Mapping[str, Kept], state: State, entries: list[Entry], params: PyTree
) -> Parked:
    """The entries that the options of a group have no use for now."""
    parked: Parked = {}
    for k, where in kept.items():
        if where.link in state and where.read(state) is None and any_has(entries, k):
            zeros = jax.tree.map(jax.numpy.zeros_like, params)
            slot = _fill_slot(k, zeros, entries, [0] * len(entries), None)
            parked.setdefault(where.link, {})[where.slot] = slot
    return parked
