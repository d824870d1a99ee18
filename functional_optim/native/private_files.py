"""Opens directories and files that only this user can have written.

Loading a library runs its code, so a library that another user put into the cache must not be
loaded. Each directory is opened relative to its parent, and each file relative to its directory,
without following links. The open descriptor is checked, so that a file cannot be replaced between
the check and the read.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["NotPrivate", "opened_directory", "opened_file"]

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class NotPrivate(Exception):
    """Raised if another user may have written a file or a directory.

    Attributes:
      path: path of the file or directory.
      reason: why, and what to do.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


@contextlib.contextmanager
def opened_directory(path: Path, below: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """Opens a directory that only this user may write to, as well as its parents from `path` on.

    Args:
      path: path of the first directory.
      below: names of the directories below it, each in the one before.
      make: whether to create missing directories; those below `path` are made private.

    Raises:
      NotPrivate: a directory is a link, belongs to another user, or others may write to it.
      OSError: a directory is missing, or cannot be opened or created.
    """
    if not hasattr(os, "geteuid"):
        raise NotPrivate(path, "this system does not say to whom files belong")
    with contextlib.ExitStack() as stack:
        handle = None
        for name in (os.fspath(path), *below):
            if make:
                _make(name, handle)
            path = path if handle is None else path / name
            opened = _open(path, name, handle, getattr(os, "O_DIRECTORY", 0))
            stack.callback(os.close, opened)
            if make and handle is not None:
                os.fchmod(opened, 0o700)
            handle = opened
        assert handle is not None
        yield handle


def _make(name: str, parent: int | None) -> None:
    """Creates a directory that only this user can access, unless it exists."""
    if parent is None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)


def opened_file(path: Path, directory: int) -> int:
    """Opens a file in an open directory; the caller closes the file.

    Raises:
      NotPrivate: the path is not a regular file, belongs to another user, or others may write to
        it.
      OSError: the file is missing, or cannot be opened.
    """
    return _open(path, path.name, directory, 0)


def _open(path: Path, name: str, parent: int | None, flags: int) -> int:
    """Opens a file, or with `flags` a directory, and checks the open descriptor."""
    try:
        handle = os.open(name, _FLAGS | flags, dir_fd=parent)
    except OSError:
        if _is_link(name, parent):
            raise NotPrivate(path, "it is a link; replace it by its target") from None
        raise
    try:
        status = os.fstat(handle)
        if not (flags or stat.S_ISREG(status.st_mode)):
            raise NotPrivate(path, "it is not a file")
        _check(path, status)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is_link(name: str, parent: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _check(path: Path, status: os.stat_result) -> None:
    """Raises if another user owns the file, or may write to it."""
    if status.st_uid != os.geteuid():
        raise NotPrivate(path, f"it belongs to user {status.st_uid}, and this is {os.geteuid()}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        raise NotPrivate(path, f"others may write to it (mode {mode:o}); chmod go-w it")
