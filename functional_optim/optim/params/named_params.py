"""Parameters with names, passed as pairs: torch's `named_parameters`."""

import collections
from collections.abc import Mapping, Sequence

from ...core.protocol import PyTree
from ...core.trees.structure import leaf_paths

__all__ = ["is_pair", "read_names"]


def read_names(
    where: str, group: Mapping[str, PyTree], others: Sequence[Mapping[str, PyTree]]
) -> dict[str, PyTree]:
    """Returns the group, with parameters that are pairs `(name, tree)` as an ordered dict.

    The order of the pairs is the order of the parameters in a `state_dict`. The names are also
    under `param_names`; a list of arrays together with such a list is read as pairs.

    Args:
      where: name of the group, for errors.
      group: parameters and options.
      others: the existing groups.

    Raises:
      ValueError: only some parameters have names, or two have the same.
    """
    group = {**group, "params": _with_names(where, group)}
    pairs = _pairs(where, group["params"])
    if pairs is not None:
        group["params"] = collections.OrderedDict(pairs)
        group["param_names"] = [name for name, _ in pairs]
        if len(group["params"]) < len(pairs):
            raise ValueError(
                f"{where}: several parameters have one name among {group['param_names']}. Give "
                "each parameter a different name."
            )
    named = "param_names" in group
    if any(("param_names" in other) != named for other in others):
        raise ValueError(
            f"{where}: all optimizer param groups should be with/without names. cannot add param "
            f"group with{'' if named else 'out'} names to the optimizer. Give all groups lists of "
            "pairs (name, array), or none."
        )
    return group


def is_pair(x: object) -> bool:
    """Tells whether x is a pair of a name and a tree; a parameter cannot be a text."""
    return isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], str)


def _pairs(where: str, params: PyTree) -> list[tuple[str, PyTree]] | None:
    """Returns the pairs of a list of pairs, or None for anything else."""
    if not isinstance(params, (list, tuple)) or not any(map(is_pair, params)):
        return None
    if not all(map(is_pair, params)):
        index = next(i for i, x in enumerate(params) if not is_pair(x))
        raise ValueError(
            f"{where}: all optimizer params should be with/without names. Some param names are "
            f"missing, the first of them for parameter {index}. Pass a list of pairs "
            "(name, array), or of arrays."
        )
    return list(params)


def _with_names(where: str, group: Mapping[str, PyTree]) -> PyTree:
    """Returns the parameters, as pairs if they are a list and `param_names` are given."""
    params, names = group["params"], group.get("param_names")
    if names is None or (isinstance(params, (list, tuple)) and any(map(is_pair, params))):
        return params
    if isinstance(params, (list, tuple)) and len(params) == len(names):
        return list(zip(names, params, strict=True))
    keys = list(params) if isinstance(params, Mapping) else []
    if list(names) not in (keys, leaf_paths(params)):
        raise ValueError(
            f"{where}: param_names are {list(names)}, and the parameters {leaf_paths(params)}. "
            "Leave param_names out: a tree has the names of its paths."
        )
    return params
