"""state_dict in torch's format: torch's names and numbering of what a state keeps."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..core.state import State
from ..core.trees import path_string
from .biased import bias, unbias
from .groups import ParamGroup
from .named_state import place

if TYPE_CHECKING:
    from .torch_class import TorchOptimizer

__all__ = ["Kept", "load_torch_state", "torch_state"]

Entry = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Kept:
    """Where an entry of torch's state is kept.

    Attributes:
      link: name of the link.
      slot: name of the slot; `steps` for the count of a parameter's steps.
      decay: for a bias-corrected mean, which torch keeps biased: the name of its decay in
        the link's memory, and the decay as the group's options have it.
    """

    link: str
    slot: str
    decay: tuple[str, Any] | None = None


def torch_state(optimizer: "TorchOptimizer") -> dict[str, Any]:
    """The optimizer's state and options as torch writes them."""
    entries: dict[int, Entry] = {}
    groups: list[dict[str, Any]] = []
    first = 0
    for group, state in zip(optimizer.param_groups, optimizer.state, strict=True):
        names = _names(optimizer, len(groups), group)
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


def _names(optimizer: "TorchOptimizer", index: int, group: ParamGroup) -> list[str]:
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
        if where.slot == "steps":
            entry[name] = np.asarray(link.steps[i], np.float32)
            continue
        value = np.asarray(jax.tree.leaves(link[where.slot])[i])
        if where.decay is None:
            entry[name] = value
        else:
            last = float(link.memory[where.decay[0]][i])
            entry |= bias(name, value, int(link.steps[i]), last, _decay(where, group))
    return entry


def _decay(where: Kept, options: Mapping[str, Any]) -> float:
    assert where.decay is not None
    return float(where.decay[1](options))


def _plain(value: Any) -> Any:
    """An option as plain data."""
    if isinstance(value, (tuple, list)):
        return tuple(_plain(v) for v in value)
    return np.asarray(value) if hasattr(value, "dtype") else value


def load_torch_state(optimizer: "TorchOptimizer", saved: Mapping[str, Any]) -> None:
    """Restores what `torch_state` or torch wrote; see `TorchOptimizer.load_state_dict`."""
    who = f"{type(optimizer).__name__}.load_state_dict"
    given = list(saved["param_groups"])
    _check_sizes(who, optimizer, given)
    loaded = []
    for i, (group, new) in enumerate(zip(optimizer.param_groups, given, strict=True)):
        options = {k: v for k, v in new.items() if k not in ("params", "param_names", "count")}
        entries = _match(who, _names(optimizer, i, group), new, saved["state"])
        loaded.append(_load_group(who, optimizer, group, options, entries, new.get("count")))
    for i, (group, (options, tx, present, state)) in enumerate(
        zip(optimizer.param_groups, loaded, strict=True)
    ):
        group.update(options)
        group.edited = False
        optimizer._adopt(i, tx, present, state)


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
    options: dict[str, Any],
    entries: list[tuple[str, Entry]],
    count: int | None,
) -> tuple[dict[str, Any], Any, set[str], State]:
    """The options, transformation and state of a group as saved."""
    present = {
        option
        for option, name in optimizer.optional.items()
        if any(entry.get(name) is not None for _, entry in entries)
    }
    options = {**group.options, **options}
    tx = optimizer._transformation(who, options, present)
    state = tx.init(group["params"])
    params = jax.tree.leaves(group["params"])
    problems: list[str] = []
    for i, (name, entry) in enumerate(entries):
        problems += _problems(optimizer.kept, name, entry, state, params[i].shape)
    if problems:
        raise ValueError(
            f"{who}: the saved state is of another optimizer or other parameters: "
            f"{'; '.join(problems[:12])}. Nothing was loaded."
        )
    if count is None:  # torch counts by parameter only
        count = max((int(entry.get("step") or 0) for _, entry in entries), default=0)
    links = {
        link: _fill(optimizer.kept, link, value, [entry for _, entry in entries], options)._replace(
            count=place(count, value.count)
        )
        for link, value in state._asdict().items()
    }
    return options, tx, present, State(**links)


def _problems(
    kept: Mapping[str, Kept], name: str, entry: Entry, state: State, shape: tuple[int, ...]
) -> list[str]:
    """What is wrong with the entry of one parameter."""
    found = []
    known = {k for k, where in kept.items() if where.slot in state._asdict().get(where.link, ())}
    for key, value in entry.items():
        if value is None:
            continue
        base = key.removesuffix("_ulp")
        if base not in known:
            found.append(f"'{name}' has an entry {key!r}, which is not kept here")
        elif kept[base].slot != "steps" and np.shape(value) != shape:
            found.append(f"'{name}': {key!r} has shape {np.shape(value)}, the parameter {shape}")
    if entry.get("step") is not None:
        missing = [k for k in sorted(known) if entry.get(k) is None]
        found += [f"'{name}' has no entry {k!r}" for k in missing]
    return found


def _fill(
    kept: Mapping[str, Kept], name: str, link: State, entries: list[Entry], options: dict[str, Any]
) -> State:
    """The state of one link, with what was saved for it."""
    own = {k: where for k, where in kept.items() if where.link == name}
    slots = {k: where for k, where in own.items() if where.slot in link and where.slot != "steps"}
    if not slots:
        return link
    started = [any(entry.get(k) is not None for k in slots) for entry in entries]
    steps = [int(e.get("step", 1)) if s else 0 for e, s in zip(entries, started, strict=True)]
    fields: dict[str, Any] = {
        "steps": place(steps, link.steps),
    }
    memory = dict(link._asdict().get("memory", {}))
    for k, where in slots.items():
        decay = None if where.decay is None else _decay(where, options)
        old, treedef = jax.tree.flatten(link[where.slot])
        new = [
            x
            if e.get(k) is None
            else place(e[k] if decay is None else unbias(k, e, t, decay, x), x)
            for e, t, x in zip(entries, steps, old, strict=True)
        ]
        fields[where.slot] = jax.tree.unflatten(treedef, new)
        if where.decay is not None:
            remembered = [decay if s else 0.0 for s in started]
            memory[where.decay[0]] = place(remembered, memory[where.decay[0]])
    if memory:
        fields["memory"] = memory
    return link._replace(**fields)
