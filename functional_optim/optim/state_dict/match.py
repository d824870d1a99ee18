"""Assigns the entries and options of a state_dict in torch's format to parameters and groups."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from ...core.protocol import PyTree
from ...core.trees.structure import is_absent
from .checks import check_params, check_states
from .entries import COUNT, ParamState, read_state_dict
from .write import param_names

__all__ = ["Names", "SavedGroup", "match_groups"]

Names = Sequence[str] | Sequence[Sequence[str]]
"""Names of the parameters in a file, in the order of their numbers; or a list for each group."""

_RECIPE = (
    "Pass names=[[name_of[p] for p in group['params']] for group in optimizer.param_groups], where "
    "name_of = {p: name for name, p in model.named_parameters()}, the names of each group of "
    "torch's optimizer."
)

_GROUPS = (
    "Make the groups of the optimizer that was saved; interop.torch.import_model converts the "
    "state of a torch model to the parameters of Flax or Equinox. Nothing was loaded."
)

_NOT_OPTIONS = ("params", "param_names", COUNT)


class SavedGroup(NamedTuple):
    """The saved data for a group of an optimizer.

    Attributes:
      names: names of the parameters.
      states: states of the parameters; a state is empty if the file has none.
      numbers: numbers of the parameters in the file.
      options: options of the group; empty if no group of the file has exactly these parameters.
      steps: number of steps made, or None if the file does not say.
      others: if `options` is empty, the options of the groups that the parameters were in.
    """

    names: list[str]
    states: list[ParamState]
    numbers: list[int]
    options: dict[str, PyTree]
    steps: int | None
    others: list[dict[str, PyTree]]


def match_groups(
    owner: str, trees: Sequence[PyTree], state_dict: object, names: Names | None
) -> list[SavedGroup]:
    """Finds the entries and options of a state_dict for the parameters of each group.

    Parameters are found by name over all groups. The options of a group are found if the
    file has a group of the same parameters.

    Args:
      owner: name of the calling function, for errors.
      trees: parameters of the groups.
      state_dict: the saved state.
      names: names of the parameters in the file, in the order of their numbers; or a list for
        each group.

    Raises:
      ValueError: the parameters differ, or which is which cannot be known.
    """
    state, groups = read_state_dict(owner, state_dict)
    numbers = check_params(owner, groups)
    check_states(owner, state)
    states = _read_states(owner, state, numbers)
    current_names = param_names(trees)
    saved_names = _saved_names(owner, groups, numbers, names)
    if saved_names is None:
        _check_sizes(owner, current_names, numbers)
        _check_order(owner, trees, bool(states))
        flat = [k for ks in numbers for k in ks]
        saved_names = dict(zip(flat, [k for names in current_names for k in names], strict=True))
    by_name = {name: k for k, name in saved_names.items()}
    _check_names(owner, current_names, numbers, by_name)
    sets = [frozenset(saved_names[k] for k in ks) for ks in numbers]
    if names is not None and not _is_nested(names):
        _check_groups(owner, current_names, groups, sets)
    # Options belong to a group as a whole, so they move only to a group of the same parameters.
    by_set = dict(zip(sets, groups, strict=True))
    count = max((int(g.get(COUNT) or 0) for g in groups), default=0) or None
    matched = []
    for group_names in current_names:
        saved = by_set.get(frozenset(group_names), {})
        overlapping = [
            g for s, g in zip(sets, groups, strict=True) if not saved and s & set(group_names)
        ]
        group_numbers = [by_name[name] for name in group_names]
        matched.append(
            SavedGroup(
                names=group_names,
                states=[states.get(k, {}) for k in group_numbers],
                numbers=group_numbers,
                options=_options(saved),
                steps=saved.get(COUNT, count),
                others=[_options(g) for g in overlapping],
            )
        )
    return matched


def _options(group: Mapping[str, PyTree]) -> dict[str, PyTree]:
    return {k: v for k, v in group.items() if k not in _NOT_OPTIONS}


def _read_states(
    owner: str, state: Mapping[Hashable, ParamState], numbers: list[list[int]]
) -> dict[int, ParamState]:
    """Returns the states of parameters by number; JSON turns the numbers into texts."""
    listed = {k for ks in numbers for k in ks}
    states = {_as_number(k): dict(entry) for k, entry in state.items()}
    unlisted = [repr(k) for k in state if _as_number(k) not in listed]
    if unlisted:
        raise ValueError(
            f"{owner}: the state has entries for {', '.join(unlisted[:8])}, which no group lists "
            "under 'params'. Pass a state_dict as it was saved. Nothing was loaded."
        )
    return states


def _as_number(key: Any) -> Any:
    return int(key) if isinstance(key, str) and key.isdecimal() else key


def _saved_names(
    owner: str,
    groups: Sequence[Mapping[str, PyTree]],
    numbers: list[list[int]],
    names: Names | None,
) -> dict[int, str] | None:
    """Returns the name for each number in the file, or None if the file has no names."""
    order = [k for ks in numbers for k in ks]
    flat: list[Any] = list(names or ())
    if names is None:
        if any(group.get("param_names") is None for group in groups):
            return None
        flat = [name for group in groups for name in group["param_names"]]
    elif _is_nested(names):
        sizes = [len(ks) for ks in numbers]
        if [len(of_group) for of_group in names] != sizes:
            raise ValueError(
                f"{owner}: the file has groups of {sizes} parameters, and there are "
                f"{[len(of_group) for of_group in names]} names for them. {_RECIPE} Nothing was "
                "loaded."
            )
        flat = [name for of_group in names for name in of_group]
    else:
        # A flat list has one name for each number, in ascending order.
        order = sorted(order)
    if len(flat) != len(order) or len(set(flat)) != len(order):
        raise ValueError(
            f"{owner}: the file has {len(order)} parameters, and {len(set(flat))} different names "
            f"of {len(flat)} are given for them. Give each a different name. Nothing was loaded."
        )
    return dict(zip(order, flat, strict=True))


def _is_nested(names: Names) -> bool:
    """Tells whether names are lists, one for each group."""
    return not all(isinstance(name, str) for name in names)


def _check_groups(
    owner: str,
    current_names: list[list[str]],
    groups: Sequence[Mapping[str, PyTree]],
    sets: Sequence[frozenset[str]],
) -> None:
    """Raises ValueError if a flat list of names would split the groups of the file.

    torch numbers the parameters group by group, and a model lists them layer by layer: with names
    in the latter order, moments and options of parameters of equal shapes would be exchanged.
    """
    named = any(group.get("param_names") is not None for group in groups)
    current_sets = {frozenset(of_group) for of_group in current_names}
    if len(groups) > 1 and not named and not current_sets.issuperset(sets):
        i = next(i for i, of_group in enumerate(sets) if of_group not in current_sets)
        raise ValueError(
            f"{owner}: the file has {len(groups)} groups, which number parameters group by group. "
            f"One list of names puts {', '.join(sorted(sets[i])[:6])} into group {i}, and this "
            f"optimizer does not have such a group. {_RECIPE} Nothing was loaded."
        )


def _check_sizes(owner: str, current_names: list[list[str]], numbers: list[list[int]]) -> None:
    """Raises ValueError if the numbers of groups or their sizes differ."""
    if len(numbers) != len(current_names):
        raise ValueError(
            f"{owner}: loaded state dict has a different number of parameter groups: "
            f"{len(numbers)} where this optimizer has {len(current_names)}. {_GROUPS}"
        )
    for i, (current, saved) in enumerate(zip(current_names, numbers, strict=True)):
        if len(current) != len(saved):
            raise ValueError(
                f"{owner}: loaded state dict contains a parameter group that doesn't match the "
                f"size of optimizer's group: group {i} has {len(saved)} parameters there and "
                f"{len(current)} here. {_GROUPS}"
            )


def _check_order(owner: str, trees: Sequence[PyTree], has_states: bool) -> None:
    """Raises ValueError if a tree's leaves may have another order than the file."""
    for i, tree in enumerate(trees):
        if has_states and not _is_in_order(tree):
            raise ValueError(
                f"{owner}: the saved parameters have numbers and no names, and the leaves of group "
                f"{i} are not in the order in which a model of torch defines them: a dict is in "
                "alphabetic order. Pass load_state_dict(state_dict, names=[...]) with their names "
                "here, dotted paths, in the order of the numbers: [name for name, _ in "
                "model.named_parameters()]. Nothing was loaded."
            )


def _is_in_order(tree: PyTree) -> bool:
    """Tells whether the order of a tree's leaves is certain: one leaf, or a flat list of leaves."""
    if len(jax.tree.leaves(tree)) < 2:
        return True
    flat = isinstance(tree, (list, tuple)) and not hasattr(tree, "_fields")
    return flat and all(is_absent(x) or jax.tree_util.all_leaves([x]) for x in tree)


def _check_names(
    owner: str, current_names: list[list[str]], numbers: list[list[int]], by_name: Mapping[str, int]
) -> None:
    """Raises ValueError if a parameter is only in the file or only in the optimizer."""
    unmatched = sorted({name for names in current_names for name in names} ^ by_name.keys())
    if unmatched:
        more = f", and {len(unmatched) - 8} more" if len(unmatched) > 8 else ""
        try:
            _check_sizes(owner, current_names, numbers)
        except ValueError as error:
            raise ValueError(
                f"{error} Only on one side are {', '.join(unmatched[:8])}{more}."
            ) from None
        raise ValueError(
            f"{owner}: the saved parameters have other names; only on one side are "
            f"{', '.join(unmatched[:8])}{more}. Pass names=[...]: for each saved "
            "parameter, in the order of their numbers, its name here. Nothing was loaded."
        )
