"""Writes and reads checkpoints in orbax's directories: sharded arrays, of one or more processes."""

import contextlib
import glob
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from .contents import Checkpoint, Templates, check_info, pack
from .extras import import_extra

__all__ = ["Saving", "load", "save"]

_SAVE = "interop.orbax.save"


class Saving:
    """A checkpoint that is being written."""

    def __init__(self, checkpointer: Any, path: Path):
        self._checkpointer, self._path = checkpointer, path

    def wait(self) -> None:
        """Returns when it is on the disk.

        Raises:
          OSError: it could not be written, for example because the disk is full. Other
            checkpoints are unchanged.
        """
        with _written(self._path):
            try:
                self._checkpointer.wait_until_finished()
            finally:
                with contextlib.suppress(Exception):  # which fails again with the same error
                    self._checkpointer.close()


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Names the checkpoint that could not be written, and removes what was written of it.

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
    path: Any,
    *,
    params: PyTree = None,
    state: PyTree = None,
    step: int | None = None,
    extra: Any = None,
    wait: bool = True,
) -> Saving:
    """Writes parameters, state, step and plain data to a new directory.

    The directory gets its name when it is complete; a process that is killed before leaves a
    directory with another name, which shows that it is not. Each process writes its own shards.
    Arrays have the names of `to_state_dict`, after `params.` and `state.`.

    Args:
      path: of the directory, one for each checkpoint: `runs/a/000700`.
      params: any tree of arrays.
      state: of any transformation.
      step: number of the step.
      extra: plain data: dicts, lists, tuples, numbers, strings, None, arrays; what `state_dict()`
        of an `Optimizer` and of a scheduler gives.
      wait: whether to return only when it is on the disk. Otherwise the arrays are copied, so
        that the next step may be given their memory, and written while training continues; call
        `wait()` of the result.

    Raises:
      ImportError: the extra `orbax` is not installed.
      TypeError: extra holds something else.
      ValueError: two arrays have one name, or the directory exists.
      OSError: (also by `wait()`) it could not be written, for example because the disk is full.
        Other checkpoints, parameters and state are unchanged.
    """
    ocp = import_extra(_SAVE, "orbax.checkpoint", "orbax")
    arrays, info = pack(_SAVE, params, state, step, extra)
    arrays, info["scalars"] = _pack_scalars({k: _copy(x) for k, x in arrays.items()})
    # orbax writes no array without elements, and no tree without arrays.
    info["shapes"] = {k: [list(np.shape(x)), x.dtype.name] for k, x in arrays.items()}
    info["crc32"] = _checksum(info)
    arrays = {k: x for k, x in arrays.items() if x.size}
    checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
    items = {"info": ocp.args.JsonSave(info)}
    if arrays:
        items["arrays"] = ocp.args.PyTreeSave(arrays)
    path = Path(path).absolute()
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
    path: Any,
    *,
    params: PyTree = None,
    state: PyTree = None,
    strict: bool = True,
    rename: Mapping[str, str] | None = None,
    stacked: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Reads what `save` wrote; arguments and result are those of `interop.safetensors.load`.

    An array that has the same name in a template is read directly to its sharding.

    Raises:
      ImportError: the extra `orbax` is not installed.
      FileNotFoundError: there is no such directory.
      ValueError: it is damaged, not written by `save`, or has a newer format; or names, shapes or
        dtypes differ: the message lists all. Nothing is loaded.
    """
    function = "interop.orbax.load"
    ocp = import_extra(function, "orbax.checkpoint", "orbax")
    path = Path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{function}: there is no {path}.")
    templates = Templates(function, params, state, strict, rename, stacked)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        items = {"info": ocp.args.JsonRestore()}
        info = _read(function, ocp, checkpointer, path, items)["info"]
        info = _undamaged(function, path, check_info(function, path, info))
        shapes = {k: (tuple(shape), jnp.dtype(name)) for k, (shape, name) in info["shapes"].items()}
        whole = {k: x for k, x in shapes.items() if 0 not in x[0]}
        likes = templates.leaves()
        options = {k: _restore_args(ocp, shape, likes.get(k)) for k, (shape, _) in whole.items()}
        arrays: dict[str, Any] = {k: np.zeros(*x) for k, x in shapes.items() if 0 in x[0]}
        if options:
            items = {"arrays": ocp.args.PyTreeRestore(restore_args=options)}
            arrays |= _read(function, ocp, checkpointer, path, items)["arrays"]
    return templates.fill(info, _unpack_scalars(arrays, info["scalars"]))


def _checksum(info: Mapping[str, Any]) -> int:
    """Returns a checksum of the JSON data; orbax has none for it."""
    whole = {k: v for k, v in info.items() if k != "crc32"}
    return zlib.crc32(json.dumps(whole, sort_keys=True).encode())


def _undamaged(function: str, path: Path, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the JSON data.

    Raises:
      ValueError: the checksum differs. Directories of version 0.1 have none, and no other key
        than it had: a checksum whose key was damaged is not overlooked.
    """
    before = {"format", "version", "step", "extra", "scalars", "shapes"}
    if info.keys() != before and info.get("crc32") != _checksum(info):
        raise ValueError(
            f"{function}: {path} is damaged: the checksum of its description differs. Load an "
            "earlier checkpoint. Nothing was loaded."
        )
    return info


def _pack_scalars(arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Packs scalars of the host into one array for each dtype; returns their names as well."""
    names: dict[str, list[str]] = {}  # orbax needs a millisecond for each array
    for name, x in arrays.items():
        if isinstance(x, np.ndarray) and not x.ndim:
            names.setdefault(f"scalars.{x.dtype.name}", []).append(name)
    packed = {k: np.stack([arrays.pop(name) for name in own]) for k, own in names.items()}
    return arrays | packed, names


def _unpack_scalars(arrays: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """Returns what `_pack_scalars` was given."""
    for key, own in names.items():
        arrays |= zip(own, arrays.pop(key), strict=True)
    return arrays


def _read(function: str, ocp: Any, checkpointer: Any, path: Path, items: Mapping[str, Any]) -> Any:
    try:
        return checkpointer.restore(path, args=ocp.args.Composite(**items))
    except Exception as error:  # of many types, depending on what is damaged
        raise ValueError(
            f"{function}: {path} is not a checkpoint of functional_optim, or is damaged: {error}. "
            "Load an earlier one. Nothing was loaded."
        ) from error


def _restore_args(ocp: Any, shape: tuple[int, ...], like: Any) -> Any:
    """Returns orbax's arguments for reading an array to its template's sharding, or to the host."""
    sharding = getattr(like, "sharding", None)
    if sharding is None or np.shape(like) != shape:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(sharding=sharding, global_shape=shape)


def _copy(x: Any) -> Any:
    """Returns an array that a donating step cannot overwrite while it is written."""
    if not isinstance(x, jax.Array):
        return np.array(x)
    on_host = all(device.platform == "cpu" for device in x.devices())
    return jnp.copy(x) if on_host else x
