"""Reading a state_dict in torch's format: whose entry is which, and what options it has."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from ..core.protocol import PyTree
from ..core.trees import is_absent
from .named_state import COUNT, read_state_dict
from .torch_state import Entry, param_names

__all__ = ["SavedGroup", "match_groups"]

_NOT_OPTIONS = ("params", "param_names", COUNT)


class SavedGroup(NamedTuple):
    """What a file has for a group of an optimizer.

    Attributes:
      names: of the parameters.
      entries: of the parameters; empty where the file has none.
      numbers: of the parameters in the file.
      options: empty where no group of the file has just these parameters.
      steps: how many were made, or None.
      others: where `options` are not there, those of the groups that the parameters were in.
    """

    names: list[str]
    entries: list[Entry]
    numbers: list[int]
    options: dict[str, Any]
    steps: int | None
    others: list[dict[str, Any]]


def match_groups(
    who: str, trees: Sequence[PyTree], given: Any, names: Sequence[str] | None
) -> list[SavedGroup]:
    """Finds in a state_dict what belongs to the parameters of each group.

    Parameters are found by name over all groups; the options of a group, where the file has a
    group of the same parameters.

    Args:
      who: what is called, for errors.
      trees: parameters of the groups.
      given: the state_dict.
      names: of the parameters in the file, in the order of its numbers.

    Raises:
      ValueError: the parameters are others, or which is which cannot be known.
    """
    state, groups = read_state_dict(who, given)
    numbers = [[int(k) for k in group["params"]] for group in groups]
    entries = _read_entries(who, state, numbers)
    wanted = param_names(trees)
    saved = _names(who, groups, numbers, names)
    if saved is None:
        _check_sizes(who, wanted, numbers)
        _check_order(who, trees, bool(entries))
        flat = [k for ks in numbers for k in ks]
        saved = dict(zip(flat, [name for own in wanted for name in own], strict=True))
    by_name = {name: k for k, name in saved.items()}
    _check_names(who, wanted, numbers, by_name)
    sets = [frozenset(saved[k] for k in ks) for ks in numbers]
    by_set = dict(zip(sets, groups, strict=True))
    count = max((int(g.get(COUNT) or 0) for g in groups), default=0) or None
    matched = []
    for own in wanted:
        group = by_set.get(frozenset(own), {})
        parts = [] if group else [g for s, g in zip(sets, groups, strict=True) if s & set(own)]
        own_numbers = [by_name[name] for name in own]
        own_entries = [entries.get(k, {}) for k in own_numbers]
        steps = group.get(COUNT, count)
        others = [_options(g) for g in parts]
        matched.append(SavedGroup(own, own_entries, own_numbers, _options(group), steps, others))
    return matched


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in group.items() if k not in _NOT_OPTIONS}


def _read_entries(who: str, state: Mapping[Any, Any], numbers: list[list[int]]) -> dict[int, Entry]:
    """The entries by number; JSON has made texts of the numbers."""
    listed = {k for ks in numbers for k in ks}
    entries = {_number(k): dict(entry) for k, entry in state.items()}
    unlisted = [repr(k) for k in state if _number(k) not in listed]
    if unlisted:
        raise ValueError(
            f"{who}: the state has entries for {', '.join(unlisted[:8])}, which no group lists "
            "under 'params'. Pass a state_dict as it was saved. Nothing was loaded."
        )
    return entries


def _number(key: Any) -> Any:
    return int(key) if isinstance(key, str) and key.isdecimal() else key


def _names(
    who: str,
    groups: Sequence[Mapping[str, Any]],
    numbers: list[list[int]],
    names: Sequence[str] | None,
) -> dict[int, str] | None:
    """The name of each number of the file, or None where it has none."""
    flat = [k for ks in numbers for k in ks]
    if names is None:
        if any(group.get("param_names") is None for group in groups):
            return None
        names = [name for group in groups for name in group["param_names"]]
        order = flat
    else:
        order = sorted(flat)
    if len(names) != len(order) or len(set(names)) != len(order):
        raise ValueError(
            f"{who}: the file has {len(order)} parameters, and {len(set(names))} different names "
            f"of {len(names)} are given for them. Give each its own. Nothing was loaded."
        )
    return dict(zip(order, names, strict=True))


def _check_sizes(who: str, wanted: list[list[str]], numbers: list[list[int]]) -> None:
    """Raises where groups or their sizes differ."""
    if len(numbers) != len(wanted):
        raise ValueError(
            f"{who}: loaded state dict has a different number of parameter groups: {len(numbers)} "
            f"where this optimizer has {len(wanted)}. Nothing was loaded."
        )
    for i, (own, saved) in enumerate(zip(wanted, numbers, strict=True)):
        if len(own) != len(saved):
            raise ValueError(
                f"{who}: loaded state dict contains a parameter group that doesn't match the size "
                f"of optimizer's group: group {i} has {len(saved)} parameters there and "
                f"{len(own)} here. Nothing was loaded."
            )


def _check_order(who: str, trees: Sequence[PyTree], needed: bool) -> None:
    """Raises where the order of a tree's leaves may not be that of the file."""
    for i, tree in enumerate(trees):
        if needed and not _is_in_order(tree):
            raise ValueError(
                f"{who}: the saved parameters have numbers and no names, and the leaves of group "
                f"{i} are not in the order in which a model of torch defines them: a dict is in "
                "alphabetic order. Pass load_state_dict(state_dict, names=[...]) with their names "
                "here, dotted paths, in the order of the numbers: [name for name, _ in "
                "model.named_parameters()]. Nothing was loaded."
            )


def _is_in_order(tree: PyTree) -> bool:
    """Whether the leaves of a tree have one order: there is one, or they are in a flat list."""
    if len(jax.tree.leaves(tree)) < 2:
        return True
    flat = isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields")
    return flat and all(is_absent(x) or jax.tree_util.all_leaves([x]) for x in tree)


def _check_names(
    who: str, wanted: list[list[str]], numbers: list[list[int]], by_name: Mapping[str, int]
) -> None:
    """Raises where parameters are only on one side."""
    unmatched = sorted({name for names in wanted for name in names} ^ by_name.keys())
    if unmatched:
        more = f", and {len(unmatched) - 8} more" if len(unmatched) > 8 else ""
        try:
            _check_sizes(who, wanted, numbers)
        except ValueError as error:
            raise ValueError(
                f"{error} Only on one side are {', '.join(unmatched[:8])}{more}."
            ) from None
        raise ValueError(
            f"{who}: the saved parameters have other names; only on one side are "
            f"{', '.join(unmatched[:8])}{more}. Pass names=[...], the names here of the saved "
            "parameters in the order of their numbers. Nothing was loaded."
        )
