"""A state_dict in the order in which torch's optimizer has its parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["in_torch_order"]


def in_torch_order(
    who: str, state_dict: Mapping[str, Any], names: Sequence[str] | None
) -> dict[str, Any]:
    """The same state with parameters numbered as torch's optimizer numbers them.

    torch finds what it loads by position alone: over the groups, and in each in the order in
    which its parameters were passed.

    Args:
      who: what is called, for errors.
      state_dict: of an optimizer here, with `param_names`.
      names: of all parameters, in torch's order.

    Raises:
      ValueError: no names are given and the order is not plain, names and parameters differ, or
        the state is one vector of all parameters, as that of LBFGS, in another order.
    """
    groups = state_dict["param_groups"]
    own = [list(group["param_names"]) for group in groups]
    if names is None:
        _check_plain(who, own)
        return dict(state_dict)
    place = {name: i for i, name in enumerate(names)}
    different = sorted(place.keys() ^ {name for known in own for name in known})
    if different or len(place) < len(names):
        raise ValueError(
            f"{who}: names must be those of the saved parameters, each once; only on one side are "
            f"{', '.join(different[:8]) or 'none'}."
        )
    order = [sorted(known, key=place.__getitem__) for known in own]
    if order != own and any("old_dirs" in entry for entry in state_dict["state"].values()):
        raise ValueError(
            f"{who}: the state is of all parameters as one vector, and cannot be put into another "
            "order. Build the optimizer with parameters as pairs, in torch's order."
        )
    old = {n: k for known, g in zip(own, groups, strict=True) for n, k in _numbered(known, g)}
    new = {n: k for k, n in enumerate(name for known in order for name in known)}
    numbers = {old[name]: new[name] for name in new}
    state = {numbers[k]: entry for k, entry in state_dict["state"].items()}
    return {
        "state": dict(sorted(state.items())),
        "param_groups": [
            {**group, "params": [new[n] for n in known], "param_names": known}
            for group, known in zip(groups, order, strict=True)
        ],
    }


def _numbered(names: Sequence[str], group: Mapping[str, Any]) -> Any:
    return zip(names, group["params"], strict=True)


def _check_plain(who: str, groups: Sequence[Sequence[str]]) -> None:
    """Raises where the order of parameters may not be torch's."""
    for i, names in enumerate(groups):
        last = [name.split(".")[-1] for name in names]
        listed = all(n.isdecimal() for n in last) and last == sorted(last, key=int)
        flat = len({name.rpartition(".")[0] for name in names}) == 1
        if len(names) > 1 and not (listed and flat):
            raise ValueError(
                f"{who}: torch loads by position, and the parameters of group {i} are not in the "
                "order in which a model of torch defines them: a dict is in alphabetic order. Pass "
                "names=[...] with their names here, dotted paths, in the order of torch's: [name "
                "for name, _ in model.named_parameters()]."
            )
