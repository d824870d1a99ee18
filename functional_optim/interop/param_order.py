"""Numbers the parameters of a state_dict in the order of torch's optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["in_torch_order"]


def in_torch_order(
    owner: str, state_dict: Mapping[str, Any], names: Sequence[str] | None
) -> dict[str, Any]:
    """Returns the same state with parameters numbered as torch's optimizer numbers them.

    torch finds what it loads by position alone: over the groups, and in each in the order in
    which its parameters were passed.

    Args:
      owner: what errors call the function.
      state_dict: of an optimizer here, with `param_names`.
      names: of all parameters, in torch's order.

    Raises:
      ValueError: no names are given and the order is not plain, names and parameters differ, or
        the state is one vector of all parameters, as that of LBFGS, in another order.
    """
    groups = state_dict["param_groups"]
    names_here = [list(group["param_names"]) for group in groups]
    if names is None:
        _check_plain(owner, names_here)
        return dict(state_dict)
    position = {name: i for i, name in enumerate(names)}
    different = sorted(
        position.keys() ^ {name for group_names in names_here for name in group_names}
    )
    if different or len(position) < len(names):
        raise ValueError(
            f"{owner}: names must be those of the saved parameters, each once; only on one side "
            f"are {', '.join(different[:8]) or 'none'}."
        )
    order = [sorted(group_names, key=position.__getitem__) for group_names in names_here]
    if order != names_here and any("old_dirs" in entry for entry in state_dict["state"].values()):
        raise ValueError(
            f"{owner}: the state is of all parameters as one vector, and cannot be put into "
            "another order. Build the optimizer with parameters as pairs, in torch's order."
        )
    old = {
        name: number
        for group_names, group in zip(names_here, groups, strict=True)
        for name, number in zip(group_names, group["params"], strict=True)
    }
    new = {name: k for k, name in enumerate(name for in_group in order for name in in_group)}
    numbers = {old[name]: new[name] for name in new}
    state = {numbers[k]: entry for k, entry in state_dict["state"].items()}
    return {
        "state": dict(sorted(state.items())),
        "param_groups": [
            {**group, "params": [new[name] for name in in_group], "param_names": in_group}
            for group, in_group in zip(groups, order, strict=True)
        ],
    }


def _check_plain(owner: str, groups: Sequence[Sequence[str]]) -> None:
    """Raises ValueError where the order of parameters may not be torch's."""
    for i, saved_names in enumerate(groups):
        names = [_without_group(name, i, groups) for name in saved_names]
        last = [name.split(".")[-1] for name in names]
        listed = all(n.isdecimal() for n in last) and last == sorted(last, key=int)
        flat = len({name.rpartition(".")[0] for name in names}) == 1
        if len(names) > 1 and not (listed and flat):
            raise ValueError(
                f"{owner}: torch loads by position, and the parameters of group {i} are not in the "
                "order in which a model of torch defines them: a dict is in alphabetic order. Pass "
                "names=[...] with their names here, dotted paths, in the order of torch's: [name "
                "for name, _ in model.named_parameters()]."
            )


def _without_group(name: str, index: int, groups: Sequence[Sequence[str]]) -> str:
    """Returns the path of a parameter whose name has the group's number in front."""
    path = name.removeprefix(f"{index}.")
    is_shared = any(f"{j}.{path}" in names for j, names in enumerate(groups) if j != index)
    return path if is_shared else name
