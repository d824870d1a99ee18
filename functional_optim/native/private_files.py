"""Directories and files that nobody but this user can have written.

A library that is loaded runs its code, so one that somebody else put into the cache must not be.
Each directory is opened below the one before it, and each file below its directory, without
following links, and is checked when it is open: what is checked is what is read.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["NotPrivate", "opened_directory", "opened_file"]

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class NotPrivate(Exception):
    """Somebody else may have written a file or a directory.

    Attributes:
      path: of it.
      reason: with what to do.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


@contextlib.contextmanager
def opened_directory(path: Path, below: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """Opens a directory that only this user may write to, as all those on the way from `path`.

    Args:
      path: of the first of them.
      below: names of those below it, each in the one before.
      make: whether to make them where they are missing; those below are made private.

    Raises:
      NotPrivate: one of them is a link, belongs to another user, or others may write to it.
      OSError: one is missing, or cannot be opened or made.
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


def _make(name: str, above: int | None) -> None:
    if above is None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=above)


def opened_file(path: Path, directory: int) -> int:
    """Opens a file, which the caller closes, in a directory that is open.

    Raises:
      NotPrivate: it is no file, belongs to another user, or others may write to it.
      OSError: it is missing, or cannot be opened.
    """
    return _open(path, path.name, directory, 0)


def _open(path: Path, name: str, above: int | None, flags: int) -> int:
    try:
        handle = os.open(name, _FLAGS | flags, dir_fd=above)
    except OSError:
        if _is_link(name, above):
            raise NotPrivate(path, "it is a link; put in its place what it leads to") from None
        raise
    try:
        found = os.fstat(handle)
        if not (flags or stat.S_ISREG(found.st_mode)):
            raise NotPrivate(path, "it is no file")
        _check(path, found)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is_link(name: str, above: int | None) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _check(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise NotPrivate(path, f"it belongs to user {found.st_uid}, and this is {os.geteuid()}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise NotPrivate(path, f"others may write to it (mode {mode:o}); chmod go-w it")
