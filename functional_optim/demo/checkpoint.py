"""Writes checkpoints, so that a killed run continues from its latest epoch."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any, TypeVar

from .config import Config
from .extras import UsageError, require

__all__ = ["Checkpoints"]

Tree = TypeVar("Tree")


class Checkpoints:
    """The checkpoints of one run, each named by its number of epochs.

    A complete checkpoint is renamed to its final name. A process that is killed leaves the previous
    checkpoint, and a temporary directory that the next start removes.

    Args:
      directory: directory of the checkpoints.
      config: configuration of this run, which is stored with each checkpoint.
      fresh: whether to remove the checkpoints of an earlier run.

    Raises:
      UsageError: the checkpoints belong to a run with another configuration.
    """

    def __init__(self, directory: Path, config: Config, *, fresh: bool = False):
        if fresh:
            _remove(directory)
        self._orbax = require("orbax.checkpoint")
        # Not asynchronous, because the next epoch donates the arrays, and so overwrites them.
        options = self._orbax.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False
        )
        self._manager = self._orbax.CheckpointManager(directory.absolute(), options=options)
        self._config = dataclasses.asdict(config)
        self._directory = directory
        if self.latest_epoch:
            self._check(directory)

    @property
    def latest_epoch(self) -> int:
        """Number of epochs of the latest complete checkpoint; 0 without a checkpoint."""
        return self._manager.latest_step() or 0

    def save(self, epoch: int, tree: Tree) -> None:
        """Writes the state after `epoch` epochs; it is on disk when this returns."""
        args = self._orbax.args
        items = {"config": args.JsonSave(self._config), "run": args.StandardSave(tree)}
        self._manager.save(epoch, args=args.Composite(**items))

    def restore(self, like: Tree) -> Tree:
        """Reads the latest checkpoint: a tree with the structure, dtypes and shapes of `like`.

        Raises:
          UsageError: the arrays differ, because another version of the demo wrote them.
        """
        try:
            return self._read("run", self._orbax.args.StandardRestore(like))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{self._directory} holds a checkpoint whose arrays differ from those of this "
                f"version of the demo ({str(error).partition(chr(10))[0]}). Pass --fresh to delete "
                "it and start over, or --out with another directory."
            ) from error

    def close(self) -> None:
        """Closes the directory."""
        self._manager.close()

    def _read(self, name: str, item: Any) -> Any:
        """Reads an item of the latest checkpoint; `item` are orbax's arguments for it."""
        args = self._orbax.args.Composite(**{name: item})
        return self._manager.restore(self.latest_epoch, args=args)[name]

    def _check(self, directory: Path) -> None:
        """Raises if the stored configuration differs from this run's configuration."""
        old, new = self._read("config", self._orbax.args.JsonRestore()), self._config
        differing = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
        if differing:
            saved = ", ".join(f"{k}={old.get(k)}" for k in differing)
            current = ", ".join(f"{k}={new.get(k)}" for k in differing)
            flags = " ".join(f"--{k.replace('_', '-')} {old.get(k)}" for k in differing)
            raise UsageError(
                f"{directory} holds a run with {saved}, and this one has {current}. To continue "
                f"with that run, pass {flags}; to start another, pass --out with another "
                "directory, or --fresh to delete that run's checkpoints."
            )


def _remove(directory: Path) -> None:
    """Removes a directory; an interruption never leaves an incomplete directory of that name."""
    renamed = directory.with_suffix(".deleted")
    if renamed.exists():
        shutil.rmtree(renamed)
    if directory.exists():
        directory.rename(renamed)
        shutil.rmtree(renamed)
