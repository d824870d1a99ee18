"""Writing a file so that it is there as a whole, or as it was."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file to write to, which takes the place of `path` at the end.

    A process killed at any moment leaves the file that was there, and a directory beside it,
    whose name ends in `.partial`, which the next of these removes. On return the new file is on
    the disk. Where writing fails, the old one stays and what was written is removed.
    """
    for left in path.parent.glob(f".{path.name}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)
    # A directory: what writes may have temporary files of its own.
    room = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    room.mkdir()
    try:
        partial = room / path.name
        yield partial
        # As of a file that is made by `open`, whatever the writer thinks.
        partial.chmod(room.stat().st_mode & 0o666)
        _sync(partial)
        partial.replace(path)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    if os.name == "posix":  # elsewhere a directory is no file
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
