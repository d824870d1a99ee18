"""Checkpoints in a directory of orbax: sharded arrays, of one process or several."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from .contents import Checkpoint, Templates, check_info, pack
from .extras import needed

__all__ = ["Saving", "load", "save"]

_SAVE = "interop.orbax.save"


class Saving:
    """A checkpoint that is being written."""

    def __init__(self, checkpointer: Any, path: Path):
        self._checkpointer, self._path = checkpointer, path

    def wait(self) -> None:
        """Returns when it is on the disk.

        Raises:
          OSError: it could not be written, for the disk is full, say. Others are as they were.
        """
        with _written(self._path):
            try:
                self._checkpointer.wait_until_finished()
            finally:
                with contextlib.suppress(Exception):  # what failed fails again
                    self._checkpointer.close()


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Says of what failed what it was, and frees the disk of it.

    As far as it is there already: threads of orbax may go on for a moment.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and "os_error_code" not in str(error):
            raise
        if jax.process_index() == 0:
            for left in path.parent.glob(f"{path.name}.orbax-checkpoint-tmp*"):
                shutil.rmtree(left, ignore_errors=True)
        raise OSError(
            f"{_SAVE}: {path} could not be written: {error}. Other checkpoints are as they were."
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
    """Writes parameters, state, step and plain data to a directory that is not there yet.

    It appears under its name when it is complete: a process killed before leaves one beside it,
    whose name tells that it is not. Each process writes the shards that it holds. Arrays
    have the names of `to_state_dict`, after `params.` and `state.`.

    Args:
      path: of the directory, one for each checkpoint: `runs/a/000700`.
      params: any tree of arrays.
      state: of any transformation.
      step: number of the step.
      extra: plain data: dicts, lists, tuples, numbers, texts, None, arrays; what `state_dict()`
        of an `Optimizer` and of a scheduler gives.
      wait: whether to return only when it is on the disk. Otherwise the arrays are copied, so
        that the next step may take their memory, and written while training goes on; call
        `wait()` of what is returned.

    Raises:
      ImportError: the extra `orbax` is not installed.
      TypeError: extra holds something else.
      ValueError: two arrays have one name, or the directory is there.
      OSError: it could not be written, for the disk is full, say; also by `wait()`. Other
        checkpoints, parameters and state are as they were.
    """
    ocp = needed(_SAVE, "orbax.checkpoint", "orbax")
    arrays, info = pack(_SAVE, params, state, step, extra)
    arrays, info["scalars"] = _gathered({k: _kept(x) for k, x in arrays.items()})
    # orbax writes no array without elements, and no tree without arrays.
    info["shapes"] = {k: [list(np.shape(x)), x.dtype.name] for k, x in arrays.items()}
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

    An array that has the name of one of a template is read straight to its sharding.

    Raises:
      ImportError: the extra `orbax` is not installed.
      FileNotFoundError: there is no such directory.
      ValueError: it is damaged, not of `save`, or of a newer format; or names, shapes or dtypes
        differ: the message lists all. Nothing is loaded.
    """
    who = "interop.orbax.load"
    ocp = needed(who, "orbax.checkpoint", "orbax")
    path = Path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(f"{who}: there is no {path}.")
    templates = Templates(who, params, state, strict, rename, stacked)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        how = {"info": ocp.args.JsonRestore()}
        info = check_info(who, path, _read(who, ocp, checkpointer, path, how)["info"])
        shapes = {k: (tuple(shape), jnp.dtype(name)) for k, (shape, name) in info["shapes"].items()}
        whole = {k: x for k, x in shapes.items() if 0 not in x[0]}
        likes = templates.leaves()
        ways = {k: _way(ocp, shape, likes.get(k)) for k, (shape, _) in whole.items()}
        arrays: dict[str, Any] = {k: np.zeros(*x) for k, x in shapes.items() if 0 in x[0]}
        if ways:
            how = {"arrays": ocp.args.PyTreeRestore(restore_args=ways)}
            arrays |= _read(who, ocp, checkpointer, path, how)["arrays"]
    return templates.fill(info, _spread(arrays, info["scalars"]))


def _gathered(arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Scalars of the host in one array for each dtype, with their names."""
    names: dict[str, list[str]] = {}  # one by one they would take orbax a millisecond each
    for name, x in arrays.items():
        if isinstance(x, np.ndarray) and not x.ndim:
            names.setdefault(f"scalars.{x.dtype.name}", []).append(name)
    packed = {k: np.stack([arrays.pop(name) for name in own]) for k, own in names.items()}
    return arrays | packed, names


def _spread(arrays: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """What `_gathered` was given."""
    for key, own in names.items():
        arrays |= zip(own, arrays.pop(key), strict=True)
    return arrays


def _read(who: str, ocp: Any, checkpointer: Any, path: Path, how: Mapping[str, Any]) -> Any:
    try:
        return checkpointer.restore(path, args=ocp.args.Composite(**how))
    except Exception as error:  # of many types, by what is damaged
        raise ValueError(
            f"{who}: {path} is no checkpoint of functional_optim, or is damaged: {error}. Load an "
            "earlier one. Nothing was loaded."
        ) from error


def _way(ocp: Any, shape: tuple[int, ...], like: Any) -> Any:
    """How an array is read: to the sharding of its template, or to the host."""
    sharding = getattr(like, "sharding", None)
    if sharding is None or np.shape(like) != shape:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(sharding=sharding, global_shape=shape)


def _kept(x: Any) -> Any:
    """An array that a donating step leaves alone, where writing it does not copy it first."""
    if not isinstance(x, jax.Array):
        return np.array(x)
    on_host = all(device.platform == "cpu" for device in x.devices())
    return jnp.copy(x) if on_host else x
