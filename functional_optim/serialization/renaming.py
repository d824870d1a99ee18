"""Renaming what was saved: parts of paths, and layers that are stacked or apart."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["renamed", "restacked"]

Arrays = dict[str, Any]


def renamed(who: str, saved: Arrays, rename: Mapping[str, str]) -> Arrays:
    """What was saved, with runs of path components replaced wherever they stand.

    Raises:
      ValueError: a run stands nowhere, or two arrays would have one name.
    """
    for old, new in rename.items():
        run = _run(old)
        names = {k: _replaced(run, new, k) for k in saved}
        if all(k == name for k, name in names.items()):
            raise ValueError(f"{who}: rename: '{old}' stands in no name of the saved state.")
        if len(set(names.values())) < len(names):
            raise ValueError(
                f"{who}: rename: '{old}' as '{new}' would give two arrays of the saved state one "
                "name."
            )
        saved = {names[k]: x for k, x in saved.items()}
    return saved


def restacked(
    who: str, saved: Arrays, wanted: Mapping[str, tuple[int, ...]], stacked: Mapping[str, str]
) -> Arrays:
    """What was saved, with layers stacked or taken apart as the wanted names have them.

    Args:
      who: what is called, for errors.
      saved: name -> array.
      wanted: name -> shape.
      stacked: path of one layer, with `*` for its number -> path of their stack.

    Raises:
      ValueError: an entry of `stacked` fits neither side.
    """
    saved = dict(saved)
    for layer, stack in stacked.items():
        if layer.count("*") != 1:
            raise ValueError(
                f"{who}: stacked: the path of one layer has one '*' for its number, got '{layer}'."
            )
        together, apart = _groups(saved, layer, stack), _groups(wanted, layer, stack)
        joined = {k: v for k, v in together.items() if k in wanted and k not in saved}
        parted = {k: v for k, v in apart.items() if k in saved and k not in wanted}
        if not joined and not parted:
            raise ValueError(
                f"{who}: stacked: there are no layers '{layer}' on one side whose stack '{stack}' "
                "is on the other."
            )
        new: Arrays = {}
        for stack_name, names in joined.items():
            layers = [saved.pop(name) for name in names]
            new[stack_name] = _join(who, stack_name, layers, wanted[stack_name])
        for stack_name, names in parted.items():
            parts = _part(saved[stack_name], [wanted[name] for name in names])
            if parts is not None:
                del saved[stack_name]
                new |= zip(names, parts, strict=True)
        saved = saved | new
    return saved


def _run(path: str) -> re.Pattern[str]:
    """Finds a run of whole components of a path; `*` is a number."""
    pattern = re.escape(path).replace(r"\*", r"(?P<number>\d+)")
    return re.compile(rf"(?:^|(?<=\.)){pattern}(?=\.|$)")


def _replaced(run: re.Pattern[str], new: str, name: str) -> str:
    return run.sub(lambda _: new, name)  # a function: its result is taken as it is


def _groups(names: Iterable[str], layer: str, stack: str) -> dict[str, list[str]]:
    """Name in a stack -> the names of its layers, in the order of their numbers."""
    run = _run(layer)
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = run.search(name)
        if match:
            key = name[: match.start()] + stack + name[match.end() :]
            found.setdefault(key, []).append((int(match["number"]), name))
    return {key: [name for _, name in sorted(layers)] for key, layers in found.items()}


def _join(who: str, name: str, layers: list[Any], shape: tuple[int, ...]) -> Any:
    arrays = [np.asarray(x) for x in layers]
    if any(x.shape != arrays[0].shape for x in arrays):
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"{who}: stacked: the layers of '{name}' have the shapes {shapes}.")
    if arrays[0].shape != shape or (len(arrays), *shape) == shape:
        return np.stack(arrays)
    # A number of each layer, where a stack has one.
    if any((x != arrays[0]).any() for x in arrays):
        values = ", ".join(str(x) for x in arrays)
        raise ValueError(
            f"{who}: stacked: a stack has one '{name}', and the layers have {values}. Only layers "
            "that were updated together can be stacked."
        )
    return arrays[0]


def _part(stack: Any, shapes: list[tuple[int, ...]]) -> list[Any] | None:
    """The layers of a stack; None where it has another number of them."""
    stack = np.asarray(stack)
    if all(stack.shape == shape for shape in shapes):
        return [stack] * len(shapes)
    return list(stack) if stack.shape[:1] == (len(shapes),) else None
