"""Renames saved arrays, and stacks or unstacks saved layers."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from ..core.leaf.quantized import FORMATS
from .placing import HostArray, SavedArray

__all__ = ["new_names", "restack", "without_containers"]

Arrays: TypeAlias = dict[str, SavedArray]


def new_names(function: str, saved: Iterable[str], rename: Mapping[str, str]) -> dict[str, str]:
    """Replaces runs of path components wherever they occur.

    Returns:
      Saved name -> new name.

    Raises:
      ValueError: a run occurs nowhere, or two arrays would have one name.
    """
    names = {k: k for k in saved}
    for old, new in rename.items():
        run = _run(old)
        replaced = {k: _replace(run, new, name) for k, name in names.items()}
        if replaced == names:
            raise ValueError(f"{function}: rename: '{old}' is in no name of the saved state.")
        if len(set(replaced.values())) < len(replaced):
            raise ValueError(
                f"{function}: rename: '{old}' as '{new}' would give two arrays of the saved state "
                "one name."
            )
        names = replaced
    return names


def without_containers(saved: Arrays, wanted: Iterable[str]) -> Arrays:
    """Removes from the names the component that earlier versions wrote for containers of `nnx`.

    In those versions a path ended in `.value`, or had it before the parts of a quantized array. The
    names do not change if a parameter is called `value`.
    """
    parts = "|".join(part for kind in FORMATS.values() for part in kind.parts)
    end = re.compile(rf"\.value(?=(\.({parts}))?$)")
    if not any(map(end.search, saved)) or any(map(end.search, wanted)):
        return saved
    return {end.sub("", k): x for k, x in saved.items()}


def restack(
    function: str, saved: Arrays, wanted: Mapping[str, tuple[int, ...]], stacked: Mapping[str, str]
) -> Arrays:
    """Stacks or unstacks saved layers, so that they have the wanted names.

    Args:
      function: the public function, for errors.
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
                f"{function}: stacked: the path of one layer has one '*' for its number, got "
                f"'{layer}'."
            )
        saved_groups = _groups(saved, layer, stack)
        wanted_groups = _groups(wanted, layer, stack)
        to_stack = {k: v for k, v in saved_groups.items() if k in wanted and k not in saved}
        to_unstack = {k: v for k, v in wanted_groups.items() if k in saved and k not in wanted}
        if not to_stack and not to_unstack:
            raise ValueError(
                f"{function}: stacked: there are no layers '{layer}' on one side whose stack "
                f"'{stack}' is on the other."
            )
        new: Arrays = {}
        for name, layers in to_stack.items():
            new[name] = _stack(function, name, [saved.pop(k) for k in layers], wanted[name])
        for name, layers in to_unstack.items():
            arrays = _unstack(saved[name], [wanted[k] for k in layers])
            if arrays is not None:
                del saved[name]
                new |= zip(layers, arrays, strict=True)
        saved = saved | new
    return saved


def _run(path: str) -> re.Pattern[str]:
    """Returns a pattern that matches a run of whole components of a path; `*` matches a number."""
    pattern = re.escape(path).replace(r"\*", r"(?P<number>\d+)")
    return re.compile(rf"(?:^|(?<=\.)){pattern}(?=\.|$)")


def _replace(run: re.Pattern[str], new: str, name: str) -> str:
    return run.sub(lambda _: new, name)  # a function, because its result is not a template


def _groups(names: Iterable[str], layer: str, stack: str) -> dict[str, list[str]]:
    """Maps each name in a stack to the names of its layers, in the order of their numbers."""
    run = _run(layer)
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = run.search(name)
        if match:
            key = name[: match.start()] + stack + name[match.end() :]
            numbered.setdefault(key, []).append((int(match["number"]), name))
    return {key: [name for _, name in sorted(layers)] for key, layers in numbered.items()}


def _stack(function: str, name: str, layers: list[SavedArray], shape: tuple[int, ...]) -> HostArray:
    """Stacks the layers of an array; returns the first if the stack has the scalar only once."""
    arrays = [np.asarray(x) for x in layers]
    if any(x.shape != arrays[0].shape for x in arrays):
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"{function}: stacked: the layers of '{name}' have the shapes {shapes}.")
    if arrays[0].shape != shape or (len(arrays), *shape) == shape:
        return np.stack(arrays)
    # Each layer has this scalar, and the stack has it once.
    if any((x != arrays[0]).any() for x in arrays):
        values = ", ".join(str(x) for x in arrays)
        raise ValueError(
            f"{function}: stacked: a stack has one '{name}', and the layers have {values}. Only "
            "layers that were updated together can be stacked."
        )
    return arrays[0]


def _unstack(stack: SavedArray, shapes: list[tuple[int, ...]]) -> list[HostArray] | None:
    """Returns the layers of a stack; None if the stack has another number of layers."""
    array = np.asarray(stack)
    if all(array.shape == shape for shape in shapes):
        return [array] * len(shapes)
    return list(array) if array.shape[:1] == (len(shapes),) else None
