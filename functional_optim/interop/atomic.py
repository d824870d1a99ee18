"""Replaces a file atomically: readers see the old file or the complete new one."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path to write to; at the end the file there replaces `path`.

    A process that is killed leaves the old file, and a directory next to it whose name ends in
    `.partial`, which the next call removes. On return the new file is on the disk. If writing
    fails, the old file stays and the new one is removed.
    """
    for abandoned in path.parent.glob(f".{path.name}.*.partial"):
        shutil.rmtree(abandoned, ignore_errors=True)
    # A directory, because the writer may use temporary files next to its file.
    directory = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    directory.mkdir()
    try:
        partial = directory / path.name
        yield partial
        # Some writers choose other permissions than `open` would.
        partial.chmod(directory.stat().st_mode & 0o666)
        _sync(partial)
        partial.replace(path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Waits until a file, or the entries of a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
