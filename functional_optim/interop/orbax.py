"""Writes and reads checkpoints in orbax's directories: sharded arrays, of one or more processes."""

import contextlib
import glob
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..core.protocol import PyTree
from ..serialization.reading import HyperparamsOf
from .checksums import checksum
from .contents import Checkpoint, Templates, check_info, pack
from .extras import import_extra

__all__ = ["Saving", "load", "save"]

_SAVE = "interop.orbax.save"

Arrays = dict[str, jax.Array | np.ndarray]
"""Arrays by their names."""


class Saving:
    """A checkpoint that is being written."""

    def __init__(self, checkpointer: Any, path: Path):
        self._checkpointer, self._path = checkpointer, path

    def wait(self) -> None:
        """Waits until the checkpoint is on the disk.

        Raises:
          OSError: the checkpoint could not be written, for example because the disk is full. Other
            checkpoints are unchanged.
        """
        with _written(self._path):
            try:
                self._checkpointer.wait_until_finished()
            finally:
                with contextlib.suppress(Exception):  # it raises the same error again
                    self._checkpointer.close()


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Names a checkpoint that could not be written in the error, and removes its partial files.

    Threads of orbax may still write for a moment after that.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and "os_error_code" not in str(error):
            raise
        if jax.process_index() == 0:
            for unfinished in path.parent.glob(f"{glob.escape(path.name)}.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished, ignore_errors=True)
        raise OSError(
            f"{_SAVE}: {path} could not be written: {error}. Other checkpoints are unchanged."
        ) from error


def save(
    path: str | PathLike[str],
    *,
    params: PyTree = None,
    state: PyTree = None,
    step: int | None = None,
    extra: PyTree = None,
    wait: bool = True,
) -> Saving:
    """Writes parameters, state, step and plain data to a new directory.

    The directory gets its name when it is complete; a process that is killed before that leaves
    a directory with another name. Each process writes its own shards.
    Arrays have the names of `to_state_dict`, after `params.` and `state.`.

    Args:
      path: path of the directory, one for each checkpoint: `runs/a/000700`.
      params: any tree of arrays.
      state: state of any transformation.
      step: number of the step.
      extra: plain data: dicts, lists, tuples, numbers, strings, None, arrays; the `state_dict()`
        of an `Optimizer` or a scheduler.
      wait: whether to return only when the checkpoint is on the disk. Otherwise the arrays are
        copied, so that the next step may donate them, and are written while training continues;
        call `wait()` of the result.

    Raises:
      ImportError: the extra `orbax` is not installed.
      TypeError: extra contains something else.
      ValueError: two arrays have one name, or the directory exists.
      OSError: (also by `wait()`) the checkpoint could not be written, for example because the
        disk is full. Other checkpoints, parameters and state are unchanged.
    """
    ocp = import_extra(_SAVE, "orbax.checkpoint", "orbax")
    path = Path(path).absolute()
    if path.exists():
        raise ValueError(
            f"{_SAVE}: {path} already exists. Pass the path of a new directory for each "
            "checkpoint, or remove this one first."
        )
    arrays, info = pack(_SAVE, params, state, step, extra)
    arrays, info["scalars"] = _pack_scalars({k: _copy(x) for k, x in arrays.items()})
    # orbax writes no array without elements, and no tree without arrays.
    info["shapes"] = {k: [list(np.shape(x)), x.dtype.name] for k, x in arrays.items()}
    arrays = {k: x for k, x in arrays.items() if x.size}
    info["checksums"] = _checksums(arrays)
    info["crc32"] = _checksum(info)
    checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
    items = {"info": ocp.args.JsonSave(info)}
    if arrays:
        items["arrays"] = ocp.args.PyTreeSave(arrays)
    saving = Saving(checkpointer, path)
    with _written(path):
        try:
            checkpointer.save(path, args=ocp.args.Composite(**items))
        except BaseException:
            with contextlib.suppress(Exception):
                checkpointer.close()
            raise
    if wait:
        saving.wait()
    return saving


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
    """Reads a checkpoint of `save`; see `interop.safetensors.load` for arguments and result.

    An array that has the same name in a template is read directly to its sharding.

    Raises:
      ImportError: the extra `orbax` is not installed.
      FileNotFoundError: there is no such directory.
      ValueError: the checkpoint is damaged, not written by `save`, or has a newer format; or
        names, shapes or dtypes differ: the message lists all. Nothing is loaded.
    """
    function = "interop.orbax.load"
    ocp = import_extra(function, "orbax.checkpoint", "orbax")
    path = Path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{function}: there is no {path}.")
    templates = Templates(function, params, state, strict, rename, stacked, hyperparams)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        items = {"info": ocp.args.JsonRestore()}
        info = _read(function, ocp, checkpointer, path, items)["info"]
        info = _undamaged(function, path, check_info(function, path, info))
        shapes = {k: (tuple(shape), jnp.dtype(name)) for k, (shape, name) in info["shapes"].items()}
        whole = {k: x for k, x in shapes.items() if 0 not in x[0]}
        likes = templates.leaves()
        options = {k: _restore_args(ocp, shape, likes.get(k)) for k, (shape, _) in whole.items()}
        arrays: Arrays = {k: np.zeros(*x) for k, x in shapes.items() if 0 in x[0]}
        if options:
            items = {"arrays": ocp.args.PyTreeRestore(restore_args=options)}
            found = _read(function, ocp, checkpointer, path, items)["arrays"]
            _check_arrays(function, path, found, info.get("checksums", {}))
            arrays |= found
    return templates.fill(info, _unpack_scalars(arrays, info["scalars"]))


def _checksum(info: Mapping[str, PyTree]) -> int:
    """Returns a checksum of the JSON data; orbax has none for it."""
    whole = {k: v for k, v in info.items() if k != "crc32"}
    return zlib.crc32(json.dumps(whole, sort_keys=True).encode())


def _checksums(arrays: Arrays) -> dict[str, int]:
    """Returns a checksum of each array; orbax has none for their data."""
    # One after the other: each sum over shards is a program in which all devices meet, and on CPU
    # with few cores many of them at once wait for each other forever.
    return {k: int(jax.device_get(checksum(x))) for k, x in arrays.items()}


def _check_arrays(function: str, path: Path, arrays: Arrays, expected: Mapping[str, int]) -> None:
    """Raises ValueError if an array does not have its checksum.

    Directories that were written before there were checksums of arrays have none.
    """
    found = _checksums({k: arrays[k] for k in expected})
    damaged = [k for k, x in found.items() if x != expected[k]]
    if damaged:
        raise ValueError(
            f"{function}: {path} is damaged: the checksum of '{damaged[0]}' differs. Load an "
            "earlier checkpoint. Nothing was loaded."
        )


def _undamaged(function: str, path: Path, info: Mapping[str, PyTree]) -> Mapping[str, PyTree]:
    """Returns the JSON data.

    Raises:
      ValueError: the checksum differs. Directories of version 0.1 have no checksum; they are
        recognized by their exact keys, so that a damaged key `crc32` is found as well.
    """
    version_0_1 = {"format", "version", "step", "extra", "scalars", "shapes"}
    if info.keys() != version_0_1 and info.get("crc32") != _checksum(info):
        raise ValueError(
            f"{function}: {path} is damaged: the checksum of its description differs. Load an "
            "earlier checkpoint. Nothing was loaded."
        )
    return info


def _pack_scalars(arrays: Arrays) -> tuple[Arrays, dict[str, list[str]]]:
    """Packs scalars of the host into one array for each dtype; returns their names as well."""
    names: dict[str, list[str]] = {}  # orbax needs a millisecond for each array
    for name, x in arrays.items():
        if isinstance(x, np.ndarray) and not x.ndim:
            names.setdefault(f"scalars.{x.dtype.name}", []).append(name)
    packed = {
        k: np.stack([arrays.pop(name) for name in packed_names])
        for k, packed_names in names.items()
    }
    return arrays | packed, names


def _unpack_scalars(arrays: Arrays, names: Mapping[str, list[str]]) -> Arrays:
    """Unpacks the scalars; the reverse of `_pack_scalars`."""
    for key, group in names.items():
        arrays |= zip(group, arrays.pop(key), strict=True)
    return arrays


def _read(
    function: str, ocp: ModuleType, checkpointer: Any, path: Path, items: Mapping[str, object]
) -> PyTree:
    try:
        return checkpointer.restore(path, args=ocp.args.Composite(**items))
    except Exception as error:  # orbax raises many types
        raise ValueError(
            f"{function}: {path} is not a checkpoint of functional_optim, or is damaged: {error}. "
            "Load an earlier one. Nothing was loaded."
        ) from error


def _restore_args(ocp: ModuleType, shape: tuple[int, ...], like: PyTree) -> object:
    """Returns orbax's arguments for reading an array to its template's sharding or the host."""
    sharding = getattr(like, "sharding", None)
    if sharding is None or np.shape(like) != shape:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(sharding=sharding, global_shape=shape)


def _copy(x: ArrayLike) -> jax.Array | np.ndarray:
    """Copies an array, so that a donating step cannot overwrite it while it is written."""
    if not isinstance(x, jax.Array):
        return np.array(x)
    on_host = all(device.platform == "cpu" for device in x.devices())
    return jnp.copy(x) if on_host else x
