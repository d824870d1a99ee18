"""Built libraries: writing them, finding them, and loading them when they are needed."""

import ctypes
import functools
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from .cache import digest, directory, opened, template
from .compiler import CompilerError, compile_library, find_compiler
from .private_files import NotPrivate, opened_file

__all__ = ["add_library", "checksum", "find", "forget", "has_any"]

SYMBOL = "functional_optim_leaf"
"""Of the handler in every library."""


class Built(NamedTuple):
    """What is known of a library before it is loaded.

    Attributes:
      path: of it; its description is next to it.
      sha256: of its content.
      bodies: digests of its functions, in their order.
    """

    path: Path
    sha256: str
    bodies: list[str]


def add_library(bodies: Sequence[str]) -> Path:
    """Builds a library of functions, and puts it where `find` looks; returns its path.

    Files are moved to their place when they are whole, the description last: another process
    sees all of a library or none of it.

    Raises:
      CompilerError: there is no compiler, it failed, or the library cannot be kept.
    """
    command = find_compiler()
    source = _source(bodies)
    library = directory() / f"{digest(source, *command)}.so"
    try:
        with opened(make=True), tempfile.TemporaryDirectory(dir=directory()) as scratch:
            written, built = Path(scratch, "kernel.cc"), Path(scratch, "kernel.so")
            written.write_text(source, encoding="utf-8")
            compile_library(command, written, built)
            described = Path(scratch, "kernel.json")
            hashes = [digest(body) for body in bodies]
            whole = {"sha256": checksum(built.read_bytes()), "bodies": hashes}
            described.write_text(json.dumps(whole), encoding="utf-8")
            for file, place in ((built, library), (described, library.with_suffix(".json"))):
                file.chmod(0o600)  # whatever the umask: `find` takes no file that others may write
                file.replace(place)
    except (OSError, NotPrivate) as error:
        raise CompilerError(
            f"native.build: kernels cannot be kept in {directory()} ({error}). Let "
            "FUNCTIONAL_OPTIM_CACHE name a directory of your own that can be written. Without "
            "kernels XLA runs the steps."
        ) from error
    forget()
    return library


def _source(bodies: Sequence[str]) -> str:
    names = [f"Body{k}" for k in range(len(bodies))]
    texts = (body.replace("NAME", name) for body, name in zip(bodies, names, strict=True))
    whole = template().replace("{TABLE}", f"{{{', '.join(names)}}}")
    return whole.replace("\nBODIES\n", "\n" + "\n\n".join(texts) + "\n")


def find(body: str) -> tuple[str, int] | None:
    """Returns the target and the number of a function, if a library has it that can be loaded."""
    for built, k in _known().get(digest(body), ()):
        target = _load(built)
        if target is not None:
            return target, k
    return None


def has_any() -> bool:
    """Tells whether there is a library to look into."""
    return bool(_known())


def forget() -> None:
    """Looks anew for libraries, when one is asked for; those that are loaded stay."""
    _known.cache_clear()
    for key in [k for k, target in _targets.items() if target is None]:
        del _targets[key]


@functools.cache
def _known() -> dict[str, list[tuple[Built, int]]]:
    """Function -> the libraries that have it, and its number in each."""
    found: dict[str, list[tuple[Built, int]]] = {}
    for built in _descriptions():
        for k, body in enumerate(built.bodies):
            found.setdefault(body, []).append((built, k))
    return found


def _descriptions() -> Iterator[Built]:
    try:
        with opened() as place:
            for name in sorted(k for k in os.listdir(place) if k.endswith(".json")):
                try:
                    yield _description(directory() / name, place)
                except (OSError, ValueError, KeyError, TypeError):
                    _warn(directory() / name, "its description cannot be read")
                except NotPrivate as error:
                    _warn(error.path, error.reason)
    except OSError:  # as a rule, because nothing was built
        return
    except NotPrivate as error:
        _warn(error.path, error.reason)


def _description(path: Path, place: int) -> Built:
    with open(opened_file(path, place), encoding="utf-8") as file:
        read = json.load(file)
    return Built(path.with_suffix(".so"), str(read["sha256"]), [str(k) for k in read["bodies"]])


_targets: dict[tuple[Path, str], str | None] = {}
"""Path and checksum of a library -> its name for XLA, or None where it cannot be loaded."""

_loaded: dict[str, tuple[str, int]] = {}
"""Checksum of a library that is loaded, from whatever path -> its name for XLA, and how many
functions it has."""


def _load(built: Built) -> str | None:
    """Loads a library and makes it known to XLA; the name there, or None where that fails."""
    key = built.path, built.sha256
    if key not in _targets:
        _targets[key] = None
        try:
            with opened() as place:
                _targets[key] = _target(built, place)
        except (OSError, ValueError, AttributeError) as error:
            _warn(built.path, str(error))
        except NotPrivate as error:
            _warn(error.path, error.reason)
    return _targets[key]


def _target(built: Built, place: int) -> str:
    """Returns the name for XLA of a library, which is loaded once for each content.

    Raises:
      ValueError: the library is not the one that was described.
      NotPrivate: somebody else may have written it.
      OSError: it cannot be read or loaded.
    """
    handle = opened_file(built.path, place)
    try:
        with open(handle, "rb", closefd=False) as file:
            content = file.read()
        # A file that is cut short stops the process that loads it.
        if checksum(content) != built.sha256:
            raise ValueError("it is not the file that was built")
        if built.sha256 not in _loaded:
            # What was checked is loaded, even if the path leads elsewhere by now. A second
            # descriptor stays open, because the loader knows libraries by their names.
            checked = Path(f"/proc/self/fd/{handle}")
            name = f"/proc/self/fd/{os.dup(handle)}" if checked.exists() else os.fspath(built.path)
            _loaded[built.sha256] = _registered(ctypes.CDLL(name), built.sha256)
    finally:
        os.close(handle)
    target, count = _loaded[built.sha256]
    if count != len(built.bodies):
        raise ValueError("it has not the functions of its description")
    return target


def _registered(library: ctypes.CDLL, sha256: str) -> tuple[str, int]:
    target = f"{SYMBOL}_{sha256[:16]}"
    count = ctypes.c_int64.in_dll(library, f"{SYMBOL}_bodies").value
    handler = jax.ffi.pycapsule(getattr(library, SYMBOL))
    jax.ffi.register_ffi_target(target, handler, platform="cpu")
    return target, count


def checksum(content: bytes) -> str:
    """Computes the checksum that identifies a library as the one that was built."""
    return hashlib.sha256(content).hexdigest()


def _warn(file: Path, reason: str) -> None:
    warnings.warn(
        f"functional_optim.native: {file} is not used: {reason}. XLA runs the steps. Mend that, or "
        "remove it and build again: python -m functional_optim.native",
        RuntimeWarning,
        stacklevel=2,
    )
