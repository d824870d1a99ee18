"""What a checkpoint holds, whichever library writes it: named arrays, and plain data."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ..core.protocol import PyTree
from ..serialization.forms import parts_of
from ..serialization.naming import Names
from ..serialization.reading import ADVICE, restore
from ..serialization.report import RestoreReport
from ..serialization.versions import FORMAT_VERSION, VERSION_KEY
from ..serialization.writing import named_arrays
from .plain_data import from_plain, to_plain

__all__ = ["Checkpoint", "Templates", "check_info", "pack"]

_PARTS = ("params", "state")


class Checkpoint(NamedTuple):
    """What was read.

    Attributes:
      params: the parameters, as their template; without one, name -> array.
      state: the state, likewise.
      step: number of the step, if it was saved.
      extra: plain data, with arrays of NumPy.
      report: what of it found no place, which is nothing unless `strict=False`.
    """

    params: PyTree
    state: PyTree
    step: int | None
    extra: Any
    report: RestoreReport


def pack(
    who: str, params: PyTree, state: PyTree, step: Any, extra: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays under their names, where they are, and the rest in the terms of JSON."""
    arrays = named_arrays(who, {"params": params, "state": state})
    version = int(arrays.pop(VERSION_KEY))
    info = {
        "format": "functional_optim",
        "version": version,
        "step": None if step is None else int(step),
        "extra": to_plain(extra, "extra", arrays),
    }
    return arrays, info


def check_info(who: str, path: Any, info: Any) -> Mapping[str, Any]:
    """What `pack` put beside the arrays.

    Raises:
      ValueError: it is none, or of a newer format.
    """
    if not isinstance(info, Mapping) or info.get("format") != "functional_optim":
        raise ValueError(
            f"{who}: {path} is no checkpoint of functional_optim. optim.load_torch_checkpoint "
            "reads files of others. Nothing was loaded."
        )
    if not 1 <= info["version"] <= FORMAT_VERSION:
        raise ValueError(
            f"{who}: {path} is of format {info['version']}, and this version of functional_optim "
            f"reads formats 1 to {FORMAT_VERSION}. Install a newer one. Nothing was loaded."
        )
    return info


class Templates:
    """Trees that a checkpoint is to be restored to, and how strictly."""

    def __init__(
        self,
        who: str,
        params: PyTree,
        state: PyTree,
        strict: bool,
        rename: Mapping[str, str] | None,
        stacked: Mapping[str, str] | None,
    ):
        self._who = who
        self._trees = {"params": params, "state": state}
        self._options = strict, rename, stacked

    def leaves(self) -> dict[str, Any]:
        """Name -> what stands there in the templates, for arrays that are saved whole."""
        known = Names(self._who, self._trees)
        whole = {k: known.arrays[n.array] for k, n in known.names.items() if n.item is None}
        return {part: x for k, like in whole.items() for part, x in parts_of(k, like)}

    def fill(self, info: Mapping[str, Any], arrays: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint of what was read."""
        given = {k: tree for k, tree in self._trees.items() if tree is not None}
        saved = _of(given, arrays)
        if given:
            saved[VERSION_KEY] = info["version"]
            trees, report = restore(self._who, given, saved, *self._options, ADVICE)
        else:
            trees, report = {}, RestoreReport()
        for part in _PARTS:
            if part not in given:
                rest = _of((part,), arrays)
                trees[part] = {k.removeprefix(f"{part}."): x for k, x in rest.items()} or None
        return Checkpoint(
            trees["params"],
            trees["state"],
            info["step"],
            from_plain(info["extra"], arrays),
            report,
        )


def _of(parts: Collection[str], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of some parts."""
    return {k: x for k, x in arrays.items() if k.split(".")[0] in parts}
