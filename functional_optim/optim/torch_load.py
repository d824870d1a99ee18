"""Reading a state in torch's format, checked as a whole before anything is taken over."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..core.protocol import GradientTransformation, PyTree
from ..core.renumber import Parked
from ..core.state import State
from .biased import unbias
from .groups import ParamGroup
from .named_state import place
from .torch_state import Entry, Kept, param_names

if TYPE_CHECKING:
    from .torch_class import TorchOptimizer

__all__ = ["LoadedGroup", "load_torch_state"]


class LoadedGroup(NamedTuple):
    """What a group becomes."""

    options: dict[str, Any]
    tx: GradientTransformation
    present: set[str]
    state: State
    parked: Parked


def load_torch_state(optimizer: "TorchOptimizer", saved: Mapping[str, Any]) -> list[LoadedGroup]:
    """Reads what `torch_state` or torch wrote; see `TorchOptimizer.load_state_dict`."""
    who = f"{type(optimizer).__name__}.load_state_dict"
    given = list(saved["param_groups"])
    _check_sizes(who, optimizer, given)
    loaded = []
    for i, (group, new) in enumerate(zip(optimizer.param_groups, given, strict=True)):
        entries = _match(who, param_names(optimizer, i, group), new, saved["state"])
        loaded.append(_load_group(who, optimizer, group, new, entries))
    return loaded


def _check_sizes(who: str, optimizer: "TorchOptimizer", given: list[Mapping[str, Any]]) -> None:
    if len(given) != len(optimizer.param_groups):
        raise ValueError(
            f"{who}: loaded state dict has a different number of parameter groups: {len(given)} "
            f"where this optimizer has {len(optimizer.param_groups)}. Nothing was loaded."
        )
    for i, (group, new) in enumerate(zip(optimizer.param_groups, given, strict=True)):
        n = len(jax.tree.leaves(group["params"]))
        if len(new["params"]) != n:
            raise ValueError(
                f"{who}: loaded state dict contains a parameter group that doesn't match the size "
                f"of optimizer's group: group {i} has {len(new['params'])} parameters there and "
                f"{n} here. Nothing was loaded."
            )


def _match(
    who: str, names: list[str], new: Mapping[str, Any], state: Mapping[Any, Any]
) -> list[tuple[str, Entry]]:
    """The saved entry of each parameter of a group: by name where there are names."""
    numbers = list(new["params"])
    if new.get("param_names") is not None:
        by_name = dict(zip(new["param_names"], numbers, strict=True))
        unmatched = sorted(set(names) ^ set(by_name))
        if unmatched:
            raise ValueError(
                f"{who}: the saved parameters have other names; only on one side are "
                f"{', '.join(unmatched[:8])}. Delete 'param_names' from the saved groups to match "
                "by position. Nothing was loaded."
            )
        numbers = [by_name[name] for name in names]
    return [(name, dict(state.get(k, {}))) for name, k in zip(names, numbers, strict=True)]


def _load_group(
    who: str,
    optimizer: "TorchOptimizer",
    group: ParamGroup,
    new: Mapping[str, Any],
    named: list[tuple[str, Entry]],
) -> LoadedGroup:
    kept, entries = optimizer.kept, [entry for _, entry in named]
    options = {k: v for k, v in new.items() if k not in ("params", "param_names", "count")}
    options = {**group.options, **options}
    present = {k for k, name in optimizer.optional.items() if _any(entries, name)}
    tx = optimizer._transformation(who, options, present)
    state = tx.init(group["params"])
    optional = optimizer.optional.values()
    _check_entries(who, kept, optional, named, state, jax.tree.leaves(group["params"]))
    count = new.get("count")
    if count is None:  # torch counts by parameter only
        count = max((int(entry.get("step") or 0) for entry in entries), default=0)
    links = {
        name: _fill(kept, name, link, entries, options)._replace(count=place(count, link.count))
        for name, link in state._asdict().items()
    }
    return LoadedGroup(options, tx, present, State(**links), _park(kept, state, entries, group))


def _any(entries: list[Entry], name: str) -> bool:
    return any(entry.get(name) is not None for entry in entries)


def _check_entries(
    who: str,
    kept: Mapping[str, Kept],
    optional: Collection[str],
    named: list[tuple[str, Entry]],
    state: State,
    params: list[Any],
) -> None:
    """Raises where the entries are not those of this optimizer and these parameters."""
    problems: list[str] = []
    needed = sorted(k for k, w in kept.items() if _has(state, w) and k not in optional)
    for (name, entry), p in zip(named, params, strict=True):
        given = {k: v for k, v in entry.items() if v is not None and not k.endswith("_ulp")}
        for k, v in given.items():
            if k not in kept:
                problems.append(f"'{name}' has an entry {k!r}, which is not kept here")
            elif kept[k].slot != "steps" and np.shape(v) != p.shape:
                problems.append(f"'{name}': {k!r} has shape {np.shape(v)}, the parameter {p.shape}")
        if "step" in given:
            missing = [k for k in needed if k not in given]
            problems += [f"'{name}' has no entry {k!r}" for k in missing]
    if problems:
        raise ValueError(
            f"{who}: the saved state is of another optimizer or other parameters: "
            f"{'; '.join(problems[:12])}. Nothing was loaded."
        )


def _has(state: State, where: Kept) -> bool:
    return where.slot in state._asdict().get(where.link, State())


def _fill(
    kept: Mapping[str, Kept], name: str, link: State, entries: list[Entry], options: dict[str, Any]
) -> State:
    """The state of one link, with what was saved for it."""
    own = {k: w for k, w in kept.items() if w.link == name and w.slot in link and w.slot != "steps"}
    if not own:
        return link
    started = np.array([any(e.get(k) is not None for k in own) for e in entries])
    steps = [int(e.get("step") or 1) if s else 0 for e, s in zip(entries, started, strict=True)]
    memory = dict(link._asdict().get("memory", {}))
    if "started" in memory:
        memory["started"] = place(started, memory["started"])
    fields: dict[str, Any] = {}
    for k, where in own.items():
        decay = None if where.decay is None else float(where.decay[1](options))
        fields[where.slot] = _fill_slot(k, link[where.slot], entries, steps, decay)
        if where.decay is not None:
            memory[where.decay[0]] = place(started * decay, memory[where.decay[0]])
    fields |= {"memory": memory} if memory else {}
    return link._replace(steps=place(steps, link.steps), **fields)


def _fill_slot(
    name: str, slot: PyTree, entries: list[Entry], steps: list[int], decay: float | None
) -> PyTree:
    """A slot with the entries of the parameters that have one; others stay as they start."""
    old, treedef = jax.tree.flatten(slot)
    new = list(old)
    for i, (entry, step) in enumerate(zip(entries, steps, strict=True)):
        if entry.get(name) is not None:
            value = entry[name] if decay is None else unbias(name, entry, step, decay, old[i])
            new[i] = place(value, old[i])
    return jax.tree.unflatten(treedef, new)


def _park(
    kept: Mapping[str, Kept], state: State, entries: list[Entry], group: ParamGroup
) -> Parked:
    """The entries that the options of the group have no use for now."""
    parked: Parked = {}
    for k, where in kept.items():
        if where.link in state and not _has(state, where) and _any(entries, k):
            zeros = jax.tree.map(jax.numpy.zeros_like, group["params"])
            slot = _fill_slot(k, zeros, entries, [0] * len(entries), None)
            parked.setdefault(where.link, {})[where.slot] = slot
    return parked
