"""Numbers the parameters of a state_dict in the order of torch's optimizer."""

from collections.abc import Mapping, Sequence

from ..core.protocol import PyTree

__all__ = ["in_torch_order"]


def in_torch_order(
    owner: str, state_dict: Mapping[str, PyTree], names: Sequence[str] | None
) -> dict[str, PyTree]:
    """Returns the same state with parameters numbered as torch's optimizer numbers them.

    torch finds parameters by position alone: group by group, in the order in which the parameters
    were passed.

    Args:
      owner: name of the calling function, for errors.
      state_dict: state of an optimizer of this package, with `param_names`.
      names: names of all parameters, in torch's order.

    Raises:
      ValueError: names are needed and missing; names and parameters differ; or the state is one
        vector of all parameters, as for LBFGS, in another order.
    """
    groups = state_dict["param_groups"]
    current_names = [list(group["param_names"]) for group in groups]
    if names is None:
        _check_order(owner, current_names)
        return dict(state_dict)
    position = {name: i for i, name in enumerate(names)}
    different = sorted(
        position.keys() ^ {name for group_names in current_names for name in group_names}
    )
    if different or len(position) < len(names):
        raise ValueError(
            f"{owner}: names must be the names of the saved parameters, each once; only on one "
            f"side are {', '.join(different[:8]) or 'none'}."
        )
    order = [sorted(group_names, key=position.__getitem__) for group_names in current_names]
    if order != current_names and any(
        "old_dirs" in entry for entry in state_dict["state"].values()
    ):
        raise ValueError(
            f"{owner}: the state has all parameters in one vector, and cannot be put into "
            "another order. Build the optimizer with parameters as pairs, in torch's order."
        )
    old = {
        name: number
        for group_names, group in zip(current_names, groups, strict=True)
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


def _check_order(owner: str, groups: Sequence[Sequence[str]]) -> None:
    """Raises ValueError if the parameters may be in another order than in torch."""
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
    """Removes the number of the group in front of a parameter's name."""
    path = name.removeprefix(f"{index}.")
    is_shared = any(f"{j}.{path}" in names for j, names in enumerate(groups) if j != index)
    return path if is_shared else name
