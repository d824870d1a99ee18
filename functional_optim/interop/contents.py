"""The contents of a checkpoint in any file format: named arrays, and plain data."""

from collections.abc import Collection, Mapping
from os import PathLike
from typing import NamedTuple, SupportsInt

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..serialization.names import Names
from ..serialization.quantized_parts import split_parts
from ..serialization.reading import ADVICE, HyperparamsOf, restore
from ..serialization.report import RestoreReport
from ..serialization.versions import FORMAT_VERSION, VERSION_KEY
from ..serialization.writing import named_arrays
from .plain_data import from_plain, to_plain

__all__ = ["Checkpoint", "Templates", "check_info", "pack"]

Array = jax.Array | np.ndarray

_PARTS = ("params", "state")


class Checkpoint(NamedTuple):
    """A checkpoint that was read.

    Attributes:
      params: the parameters, structured like their template; without a template, name -> array.
      state: the state, likewise.
      step: number of the step, if it was saved.
      extra: plain data, with NumPy arrays.
      report: which arrays did not fit, with `strict=False`; and which links got `leaf_counts`.
    """

    params: PyTree
    state: PyTree
    step: int | None
    extra: PyTree
    report: RestoreReport


def pack(
    function: str, params: PyTree, state: PyTree, step: SupportsInt | None, extra: PyTree
) -> tuple[dict[str, Array], dict[str, PyTree]]:
    """Returns the arrays by name, on their devices, and the rest as JSON data.

    Raises:
      TypeError: a value cannot be written, or could not be read again; the message says where.
    """
    arrays = named_arrays(function, {"params": params, "state": state})
    version = int(arrays.pop(VERSION_KEY))
    info = {
        "format": "functional_optim",
        "version": version,
        "step": _step_number(function, step),
        "extra": to_plain(function, extra, "extra", arrays),
    }
    return {k: _as_written(function, k, x) for k, x in arrays.items()}, info


def _step_number(function: str, step: SupportsInt | None) -> int | None:
    if step is None:
        return None
    if int(step) != step:
        raise TypeError(f"{function}: step must be an integer or None, got {step!r}.")
    return int(step)


def _as_written(function: str, name: str, x: Array) -> Array:
    """Returns the array, in the byte order of this machine if it is on the host.

    Raises:
      TypeError: its dtype has no name that a checkpoint can store: text, objects, structures,
        random keys.
    """
    try:
        dtype = jnp.dtype(x.dtype.name)
    except TypeError:
        dtype = None
    if dtype is None or dtype.hasobject or x.dtype not in (dtype, dtype.newbyteorder()):
        raise TypeError(
            f"{function}: '{name}' has the dtype {x.dtype}, and a checkpoint holds arrays of "
            "numbers. Pass a text as a Python string, and a random key as jax.random.key_data(key)."
        )
    return x if x.dtype == dtype else x.astype(dtype)


def check_info(function: str, path: str | PathLike[str], info: object) -> Mapping[str, PyTree]:
    """Checks and returns the JSON data of `pack`.

    Raises:
      ValueError: the data is not from `pack`, or has a newer format.
    """
    if not isinstance(info, Mapping) or info.get("format") != "functional_optim":
        raise ValueError(
            f"{function}: {path} is not a checkpoint of functional_optim. "
            "optim.load_torch_checkpoint reads other files. Nothing was loaded."
        )
    version = info.get("version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"{function}: {path} is of format {version}, and this version of "
            f"functional_optim reads formats 1 to {FORMAT_VERSION}. Install a newer one. Nothing "
            "was loaded."
        )
    return info


class Templates:
    """The trees that a checkpoint is restored to, and the options for restoring."""

    def __init__(
        self,
        function: str,
        params: PyTree,
        state: PyTree,
        strict: bool,
        rename: Mapping[str, str] | None,
        stacked: Mapping[str, str] | None,
        hyperparams: HyperparamsOf,
    ):
        self._function = function
        self._trees = {"params": params, "state": state}
        self._options = strict, rename, stacked, hyperparams

    def leaves(self) -> dict[str, PyTree]:
        """Maps names to leaves of the templates, for arrays of a single parameter."""
        names = Names(self._function, self._trees)
        whole = {k: names.arrays[n.array] for k, n in names.names.items() if n.item is None}
        return {part: x for k, like in whole.items() for part, x in split_parts(k, like)}

    def fill(self, info: Mapping[str, PyTree], arrays: Mapping[str, Array]) -> Checkpoint:
        """Makes the checkpoint from the data that was read."""
        templates = {k: tree for k, tree in self._trees.items() if tree is not None}
        saved = _select_parts(templates, arrays)
        if templates:
            saved[VERSION_KEY] = info["version"]
            trees, report = restore(self._function, templates, saved, *self._options, ADVICE)
        else:
            trees, report = {}, RestoreReport()
        for part in _PARTS:
            if part not in templates:
                named = _select_parts((part,), arrays)
                trees[part] = {k.removeprefix(f"{part}."): x for k, x in named.items()} or None
        return Checkpoint(
            trees["params"],
            trees["state"],
            info["step"],
            from_plain(info["extra"], arrays),
            report,
        )


def _select_parts(parts: Collection[str], arrays: Mapping[str, Array]) -> dict[str, PyTree]:
    """Returns the arrays of some parts."""
    return {k: x for k, x in arrays.items() if k.split(".")[0] in parts}
