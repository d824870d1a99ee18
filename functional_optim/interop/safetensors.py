"""Checkpoints in one safetensors file."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from ..serialization.writing import whole
from .atomic import replacing
from .contents import Checkpoint, Templates, check_info, pack
from .extras import needed

__all__ = ["load", "read_arrays", "save"]

_SAVE = "interop.safetensors.save"

Host = np.ndarray[Any, Any]

_DTYPES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
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
"""The format's name of a dtype -> NumPy's."""

_WRITTEN = set(_DTYPES.values()) - {"complex64"}
"""dtypes that are written as such; the first versions of the format lack complex numbers."""

_INFO, _SUM = "functional_optim", "functional_optim.crc32"


def save(
    path: Any,
    *,
    params: PyTree = None,
    state: PyTree = None,
    step: int | None = None,
    extra: Any = None,
) -> None:
    """Writes parameters, state, step and plain data to one file, which takes the old one's place.

    A process that is killed leaves the old file as it was; on return the new one is on the
    disk. Arrays have the names of `to_state_dict`, after `params.` and `state.`, so that other
    tools can read them. Each has a checksum.

    Args:
      path: of the file, by custom with the ending `.safetensors`; its directory exists.
      params: any tree of arrays.
      state: of any transformation.
      step: number of the step.
      extra: plain data: dicts, lists, tuples, numbers, texts, None, arrays; what `state_dict()`
        of an `Optimizer` and of a scheduler gives.

    Raises:
      ImportError: the extra `safetensors` is not installed.
      TypeError: extra holds something else.
      ValueError: two arrays have one name, or an array is spread over several processes.
      OSError: the disk is full, or the directory is not there; the old file is as it was.

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
    writer = needed(_SAVE, "safetensors.numpy", "safetensors")
    arrays, info = pack(_SAVE, params, state, step, extra)
    host = {k: np.array(whole(_SAVE, k, x), order="C") for k, x in arrays.items()}
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
            f"{_SAVE}: {path} could not be written: {error}. What was there is as it was."
        ) from error


def load(
    path: Any,
    *,
    params: PyTree = None,
    state: PyTree = None,
    strict: bool = True,
    rename: Mapping[str, str] | None = None,
    stacked: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Reads what `save` wrote.

    Args:
      path: of the file.
      params: what the parameters are to be like: structure, dtypes, shardings. Without it they
        are read as a flat dict.
      state: what the state is to be like: `tx.init(params)`. Likewise.
      strict: see `from_state_dict`, as for `rename` and `stacked`. `Checkpoint.report` says what
        did not fit.
      rename: path there -> path here.
      stacked: path of one layer -> path of their stack.

    Raises:
      ImportError: the extra `safetensors` is not installed.
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, not of `save`, or of a newer format; or names, shapes or dtypes
        differ: the message lists all. Nothing is loaded.
    """
    who = "interop.safetensors.load"
    arrays, metadata = read_arrays(who, Path(path))
    templates = Templates(who, params, state, strict, rename, stacked)
    text = metadata.get(_INFO, "null")
    if text != "null" and str(zlib.crc32(text.encode())) != metadata.get(_SUM):
        raise _damaged(who, path, "its description has another checksum than was written")
    info = check_info(who, path, json.loads(text))
    wrong = [k for k in info["crc32"].keys() | arrays if not _is_whole(k, arrays, info["crc32"])]
    if wrong:
        shown = ", ".join(map(repr, sorted(wrong)[:8]))
        raise _damaged(who, path, f"other checksums than were written have {shown}")
    for name, dtype in info["dtypes"].items():
        arrays[name] = arrays[name].view(jnp.dtype(dtype))[..., 0]
    return templates.fill(info, arrays)


def read_arrays(who: str, path: Path) -> tuple[dict[str, Host], dict[str, str]]:
    """The arrays and the texts of a safetensors file.

    Raises:
      ValueError: it is none, or is damaged.
    """
    reader = _library(who)
    content = path.read_bytes()
    try:
        found = reader.deserialize(content)
    except reader.SafetensorError as error:
        raise _damaged(who, path, f"it is no whole safetensors file ({error})") from error
    arrays = {
        name: np.frombuffer(bytes(x["data"]), jnp.dtype(_DTYPES[x["dtype"]])).reshape(x["shape"])
        for name, x in found
    }
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {k: x.copy() for k, x in arrays.items()}, header.get("__metadata__", {})


def _library(who: str) -> Any:
    return needed(who, "safetensors", "safetensors")


def _damaged(who: str, path: Any, what: str) -> ValueError:
    return ValueError(
        f"{who}: {path} is damaged: {what}. Load an earlier checkpoint. Nothing was loaded."
    )


def _as_bits(x: Host) -> Host:
    return x[..., None].view(np.uint8)


def _checksum(name: str, x: Host) -> int:
    return zlib.crc32(x.view(np.uint8).data if x.size and x.ndim else x.tobytes(), _seed(name, x))


def _seed(name: str, x: Host) -> int:
    """Of what else must not change: an array's name, dtype and shape."""
    return zlib.crc32(f"{name} {x.dtype.name} {x.shape}".encode())


def _is_whole(name: str, arrays: Mapping[str, Host], sums: Mapping[str, int]) -> bool:
    return name in arrays and name in sums and _checksum(name, arrays[name]) == sums[name]
