"""Warns of saved options that no present group uses, because the groups have changed."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from ...core.protocol import PyTree
from ..conversions import as_numpy, freeze
from ..params.param_group import KEYS_OF_TORCH
from ..stacklevel import user_stacklevel
from .match import SavedGroup

__all__ = ["warn_of_ignored_options", "warn_of_square_kernels", "warn_of_unknown_options"]

_WITHOUT_EFFECT = frozenset({"foreach", "fused", "capturable", "differentiable"})


def warn_of_ignored_options(
    owner: str, groups: Sequence[Mapping[str, PyTree]], saved: Sequence[SavedGroup]
) -> None:
    """Warns if a group keeps its options, although its parameters were saved with different ones.

    Args:
      owner: name of the calling function, for the warning.
      groups: options of each group of the optimizer.
      saved: the saved group for each.
    """
    differences = enumerate(map(_differences, groups, saved))
    lines = [f"group {i}: {difference}" for i, difference in differences if difference]
    if lines:
        warnings.warn(
            f"{owner}: options were not loaded, because the parameters are grouped differently "
            f"here than in the file. {'; '.join(lines)}. Assign the options that you want to "
            "param_groups.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def warn_of_unknown_options(
    owner: str, groups: Sequence[Mapping[str, PyTree]], saved: Sequence[SavedGroup]
) -> None:
    """Warns of options of torch that are switched on in a file, and do not exist here.

    They may be options of a newer torch, without which the run continues differently.
    """
    lines = []
    for i, (group, of_file) in enumerate(zip(groups, saved, strict=True)):
        known = group.keys() | KEYS_OF_TORCH | _WITHOUT_EFFECT | {"decoupled_weight_decay"}
        unknown = {k: v for k, v in of_file.options.items() if k not in known and _is_on(v)}
        if of_file.steps is None and unknown:
            listed = ", ".join(f"{k}={freeze(v)!r}" for k, v in unknown.items())
            lines.append(f"group {i}: {listed}")
    if lines:
        warnings.warn(
            f"{owner}: the file has options that are not known here, and have no effect. "
            f"{'; '.join(lines)}. Check that the run can continue without them.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def _is_on(value: object) -> bool:
    return value is not None and (isinstance(value, str) or bool(np.any(as_numpy(value))))


def warn_of_square_kernels(owner: str, saved: Sequence[SavedGroup]) -> None:
    """Warns if a file of torch has moments for a square kernel, which may need transposing."""
    square = [
        name
        for group in saved
        for name, state in zip(group.names, group.states, strict=True)
        if group.steps is None and name.split(".")[-1] == "kernel" and _has_square(state)
    ]
    if square:
        warnings.warn(
            f"{owner}: the moments of {', '.join(square[:8])} were loaded as torch has them. A "
            "kernel of Flax has its axes in the other order, and a square one does not show it. "
            "Bring weights and moments here by functional_optim.interop.torch.import_model.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def _has_square(state: Mapping[str, PyTree]) -> bool:
    shapes = [np.shape(x) for x in state.values() if x is not None]
    return any(len(shape) == 2 and shape[0] == shape[1] > 1 for shape in shapes)


def _differences(current: Mapping[str, PyTree], saved: SavedGroup) -> str:
    """Returns text such as `lr 0.001 here, 0.02 and 0.01 in the file`; empty if nothing differs."""
    texts = []
    for key in sorted(current.keys() - _WITHOUT_EFFECT):
        in_file = [options[key] for options in saved.others if key in options]
        if not all(_same(current[key], value) for value in in_file):
            values = " and ".join(dict.fromkeys(repr(freeze(value)) for value in in_file))
            texts.append(f"{key} {current[key]!r} here, {values} in the file")
    return ", ".join(texts)


def _same(a: object, b: object) -> bool:
    """Tells whether two options have equal values; JSON turns tuples into lists."""
    if a is None or b is None or callable(a) or callable(b):
        return bool(a is b or (callable(a) and a == b))
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(np.array_equal(as_numpy(a), as_numpy(b)))
