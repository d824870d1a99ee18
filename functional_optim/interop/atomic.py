"""Replaces a file atomically: readers see the old file or the complete new one."""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path to write to; at the end the file there replaces `path`.

    A process that is killed leaves the old file, and a directory next to it whose name ends in
    `.partial`, which the next call removes, unless another process is still writing to it. On
    return the new file is on the disk. If writing fails, the old file stays and the new one is
    removed.
    """
    _remove_abandoned(path)
    with _partial_directory(path) as directory:
        partial = directory / path.name
        yield partial
        # Some writers choose other permissions than `open` would.
        partial.chmod(directory.stat().st_mode & 0o666)
        _sync(partial)
        partial.replace(path)
    if os.name == "posix":  # elsewhere a directory cannot be opened
        _sync(path.parent)


@contextlib.contextmanager
def _partial_directory(path: Path) -> Iterator[Path]:
    """Makes a directory next to `path`, locks it, and removes it at the end.

    A directory is used because the writer may make temporary files next to its file.
    """
    while True:
        directory = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
        directory.mkdir()
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # some file systems have no locks
                stack.enter_context(_locked(directory))
            # Another writer may have removed it before it was locked.
            if not directory.exists():
                continue
            try:
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)
            return


def _remove_abandoned(path: Path) -> None:
    """Removes the directories for `path` that no process has locked."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    for directory in path.parent.iterdir():
        if name.fullmatch(directory.name):
            with contextlib.suppress(OSError), _locked(directory, wait=False):
                shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Locks a directory until the end, or until this process ends.

    Raises:
      OSError: the directory is gone, or cannot be locked; or, without `wait`, it is locked.
    """
    handle = os.open(directory, os.O_RDONLY)  # fails on Windows
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    """Waits until a file, or the entries of a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
