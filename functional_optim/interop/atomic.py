"""Writing a file so that it is there as a whole, or as it was."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file to write to, which takes the place of `path` at the end.

    A process killed at any moment leaves the file that was there, and one beside it, with a name
    that ends in `.partial`, which the next of these removes. On return the new one is on the
    disk. Where writing fails, the old one stays and what was written is removed.
    """
    for left in path.parent.glob(f".{path.name}.*.partial"):
        left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(".partial", f".{path.name}.", path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        os.chmod(partial, 0o666 & ~_umask())  # as `open` would make it, not for the owner alone
        yield partial
        _sync(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a directory is no file
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
