"""Writes and reads checkpoints in one safetensors file."""

import json
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..serialization.reading import HyperparamsOf
from ..serialization.writing import check_addressable
from .atomic import replacing
from .contents import Checkpoint, Templates, check_info, pack
from .extras import import_extra

__all__ = ["load", "read_arrays", "save"]

_SAVE = "interop.safetensors.save"

HostArray = np.ndarray

_DTYPES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
} | {
    f"{letter}{bits}": f"{kind}{bits}"
    for letter, kind, sizes in (
        ("F", "float", (16, 32, 64)),
        ("I", "int", (8, 16, 32, 64)),
        ("U", "uint", (8, 16, 32, 64)),
        ("C", "complex", (64,)),
    )
    for bits in sizes
}
"""Name of a dtype in the format -> name in NumPy."""

_WRITTEN = set(_DTYPES.values()) - {"complex64", "float8_e8m0fnu"}
"""Dtypes that are written directly; the first versions of safetensors lack the others."""

_INFO, _SUM = "functional_optim", "functional_optim.crc32"


def save(
    path: str | PathLike[str],
    *,
    params: PyTree = None,
    state: PyTree = None,
    step: int | None = None,
    extra: PyTree = None,
) -> None:
    """Writes parameters, state, step and plain data to one file, which replaces the old one.

    A process that is killed leaves the old file unchanged; on return the new file is on the disk.
    Arrays have the names of `to_state_dict`, after `params.` and `state.`, so that other tools can
    read them. Each has a checksum.

    Args:
      path: path of the file, usually with the ending `.safetensors`; its directory must exist.
      params: any tree of arrays.
      state: state of any transformation.
      step: number of the step.
      extra: plain data: dicts, lists, tuples, numbers, strings, None, arrays; the `state_dict()`
        of an `Optimizer` or a scheduler.

    Raises:
      ImportError: the extra `safetensors` is not installed.
      TypeError: extra contains something else.
      ValueError: two arrays have one name, or an array is sharded over several processes.
      OSError: the disk is full, or the directory does not exist; the old file is unchanged.

    Example:
      >>> import os, tempfile
      >>> import functional_optim as fo
      >>> from functional_optim.interop import safetensors
      >>> tx, params = fo.adam(1e-3), {"w": jnp.ones(2)}
      >>> path = os.path.join(tempfile.mkdtemp(), "last.safetensors")
      >>> safetensors.save(path, params=params, state=tx.init(params), step=7)
      >>> saved = safetensors.load(path, params=params, state=tx.init(params))
      >>> saved.params, saved.step
      ({'w': Array([1., 1.], dtype=float32)}, 7)
    """
    writer = import_extra(_SAVE, "safetensors.numpy", "safetensors")
    arrays, info = pack(_SAVE, params, state, step, extra)
    host = {k: np.array(check_addressable(_SAVE, k, x), order="C") for k, x in arrays.items()}
    bits = {k: x.dtype.name for k, x in host.items() if x.dtype.name not in _WRITTEN}
    host = {k: x if k not in bits else _as_bits(x) for k, x in host.items()}
    sums = {k: _checksum(k, x) for k, x in host.items()}
    text = json.dumps({**info, "dtypes": bits, "crc32": sums})
    metadata = {_INFO: text, _SUM: str(zlib.crc32(text.encode()))}
    try:
        with replacing(Path(path)) as partial:
            writer.save_file(host, partial, metadata)
    except (OSError, _library(_SAVE).SafetensorError) as error:
        raise OSError(
            f"{_SAVE}: {path} could not be written: {error}. The old file is unchanged."
        ) from error


def load(
    path: str | PathLike[str],
    *,
    params: PyTree = None,
    state: PyTree = None,
    strict: bool = True,
    rename: Mapping[str, str] | None = None,
    stacked: Mapping[str, str] | None = None,
    hyperparams: HyperparamsOf = "saved",
) -> Checkpoint:
    """Reads a checkpoint that `save` has written.

    Args:
      path: path of the file.
      params: parameters with the structure, dtypes and shardings to restore to. Without params,
        they are read as a flat dict.
      state: likewise, `tx.init(params)`.
      strict: as for `from_state_dict`, which also describes how the structure of the state
        may differ from the template's. `Checkpoint.report` lists the differences.
      rename: saved path -> new path, as for `from_state_dict`.
      stacked: path of one layer -> path of their stack, likewise.
      hyperparams: `"saved"` or `"template"`, likewise.

    Raises:
      ImportError: the extra `safetensors` is not installed.
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, not written by `save`, or has a newer format; or names,
        shapes or dtypes differ: the message lists all. Nothing is loaded.
    """
    function = "interop.safetensors.load"
    arrays, metadata = read_arrays(function, Path(path))
    templates = Templates(function, params, state, strict, rename, stacked, hyperparams)
    text = metadata.get(_INFO, "null")
    if text != "null" and str(zlib.crc32(text.encode())) != metadata.get(_SUM):
        raise _damaged(function, path, "the checksum of its description differs")
    info = check_info(function, path, json.loads(text))
    sums = info["crc32"]
    damaged = [k for k in sums.keys() | arrays if not _is_intact(k, arrays, sums)]
    if damaged:
        shown = ", ".join(map(repr, sorted(damaged)[:8]))
        raise _damaged(function, path, f"the checksums of {shown} differ")
    for name, dtype in info["dtypes"].items():
        arrays[name] = arrays[name].view(jnp.dtype(dtype))[..., 0]
    return templates.fill(info, arrays)


def read_arrays(function: str, path: Path) -> tuple[dict[str, HostArray], dict[str, str]]:
    """Reads the arrays and the metadata of a safetensors file.

    Raises:
      ValueError: the file is damaged, or not a safetensors file.
    """
    reader = _library(function)
    content = path.read_bytes()
    try:
        entries = reader.deserialize(content)
    except reader.SafetensorError as error:
        raise _damaged(
            function, path, f"it is not a complete safetensors file ({error})"
        ) from error
    unknown = [f"'{name}' has {x['dtype']}" for name, x in entries if x["dtype"] not in _DTYPES]
    if unknown:
        raise ValueError(
            f"{function}: {path} has arrays of dtypes that are not read here: "
            f"{', '.join(unknown[:8])}. Convert them with the program that wrote them."
        )
    arrays = {
        name: np.frombuffer(bytes(x["data"]), jnp.dtype(_DTYPES[x["dtype"]])).reshape(x["shape"])
        for name, x in entries
    }
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {k: x.copy() for k, x in arrays.items()}, header.get("__metadata__", {})


def _library(function: str) -> ModuleType:
    return import_extra(function, "safetensors", "safetensors")


def _damaged(function: str, path: str | PathLike[str], damage: str) -> ValueError:
    return ValueError(
        f"{function}: {path} is damaged: {damage}. Load an earlier checkpoint. Nothing was loaded."
    )


def _as_bits(x: HostArray) -> HostArray:
    """Returns the bytes of each element along a last axis that is added."""
    return x[..., None].view(np.uint8)


def _checksum(name: str, x: HostArray) -> int:
    return zlib.crc32(x.view(np.uint8).data if x.size and x.ndim else x.tobytes(), _seed(name, x))


def _seed(name: str, x: HostArray) -> int:
    """Returns the checksum of an array's name, dtype and shape, which are protected as well."""
    return zlib.crc32(f"{name} {x.dtype.name} {x.shape}".encode())


def _is_intact(name: str, arrays: Mapping[str, HostArray], sums: Mapping[str, int]) -> bool:
    return name in arrays and name in sums and _checksum(name, arrays[name]) == sums[name]
