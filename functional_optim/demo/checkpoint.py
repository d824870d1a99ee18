"""Checkpoints: written so that a killed run goes on where it stood."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any, TypeVar

from .config import Config
from .extras import UsageError, require

__all__ = ["Checkpoints"]

Tree = TypeVar("Tree")


class Checkpoints:
    """The checkpoints of one run, each under the number of its epochs.

    A checkpoint appears under its name when it is complete, by a rename: a process killed
    at any moment leaves the one before it, and a temporary directory that the next start
    removes.

    Args:
      directory: where they are.
      config: of this run; it is stored with each checkpoint.
      fresh: removes those of an earlier run.

    Raises:
      UsageError: they are of a run with another configuration.
    """

    def __init__(self, directory: Path, config: Config, *, fresh: bool = False):
        if fresh:
            _remove(directory)
        self._orbax = require("orbax.checkpoint")
        # Not asynchronous: the next epoch writes over the arrays, for it is given their memory.
        options = self._orbax.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False
        )
        self._manager = self._orbax.CheckpointManager(directory.absolute(), options=options)
        self._config = dataclasses.asdict(config)
        if self.latest_epoch:
            self._check(directory)

    @property
    def latest_epoch(self) -> int:
        """Epochs of the latest complete checkpoint; 0 where there is none."""
        return self._manager.latest_step() or 0

    def save(self, epoch: int, tree: Any) -> None:
        """Writes the state after `epoch` epochs; on return it is on the disk."""
        args = self._orbax.args
        items = {"config": args.JsonSave(self._config), "run": args.StandardSave(tree)}
        self._manager.save(epoch, args=args.Composite(**items))

    def restore(self, like: Tree) -> Tree:
        """Reads the latest one: a tree with the structure, dtypes and shapes of `like`."""
        return self._read("run", self._orbax.args.StandardRestore(like))

    def close(self) -> None:
        """Lets go of the directory."""
        self._manager.close()

    def _read(self, name: str, item: Any) -> Any:
        args = self._orbax.args.Composite(**{name: item})
        return self._manager.restore(self.latest_epoch, args=args)[name]

    def _check(self, directory: Path) -> None:
        old, new = self._read("config", self._orbax.args.JsonRestore()), self._config
        differing = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
        if differing:
            was = ", ".join(f"{k}={old.get(k)}" for k in differing)
            now = ", ".join(f"{k}={new.get(k)}" for k in differing)
            back = " ".join(f"--{k.replace('_', '-')} {old.get(k)}" for k in differing)
            raise UsageError(
                f"{directory} holds a run with {was}, and this one has {now}. To go on with "
                f"that run, pass {back}; to start another, pass --out with another directory, "
                "or --fresh to delete that run's checkpoints."
            )


def _remove(directory: Path) -> None:
    """Removes a directory so that, whenever it is interrupted, no half of it is left in place."""
    doomed = directory.with_suffix(".deleted")
    if doomed.exists():
        shutil.rmtree(doomed)
    if directory.exists():
        directory.rename(doomed)
        shutil.rmtree(doomed)
