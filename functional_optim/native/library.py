"""Writes built libraries to the cache, finds them there, and loads them when they are needed."""

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
"""Symbol of the handler that XLA calls, in every library."""


class Built(NamedTuple):
    """The description of a library, which is read before the library is loaded.

    Attributes:
      path: path of the library; the description is next to it.
      sha256: checksum of the library's content.
      bodies: digests of the library's functions, in their order.
    """

    path: Path
    sha256: str
    bodies: list[str]


def add_library(bodies: Sequence[str]) -> Path:
    """Builds a library of functions in the directory that `find` searches; returns its path.

    Complete files are moved into the directory, the description last, so that another process sees
    a whole library or none.

    Raises:
      CompilerError: there is no compiler, it failed, or the library cannot be written.
    """
    command = find_compiler()
    source = _source(bodies)
    library = directory() / f"{digest(source, *command)}.so"
    try:
        with opened(make=True), tempfile.TemporaryDirectory(dir=directory()) as scratch:
            code, compiled = Path(scratch, "kernel.cc"), Path(scratch, "kernel.so")
            code.write_text(source, encoding="utf-8")
            compile_library(command, code, compiled)
            described = Path(scratch, "kernel.json")
            hashes = [digest(body) for body in bodies]
            description = {"sha256": checksum(compiled.read_bytes()), "bodies": hashes}
            described.write_text(json.dumps(description), encoding="utf-8")
            for file, target in ((compiled, library), (described, library.with_suffix(".json"))):
                file.chmod(0o600)  # against the umask: `find` rejects files that others may write
                file.replace(target)
    except (OSError, NotPrivate) as error:
        raise CompilerError(
            f"native.build: kernels cannot be written to {directory()} ({error}). Set "
            "FUNCTIONAL_OPTIM_CACHE to a directory that only you can write to. Without kernels XLA "
            "runs the steps."
        ) from error
    forget()
    return library


def _source(bodies: Sequence[str]) -> str:
    """Returns the C++ source of a library."""
    names = [f"Body{k}" for k in range(len(bodies))]
    texts = (body.replace("NAME", name) for body, name in zip(bodies, names, strict=True))
    whole = template().replace("{TABLE}", f"{{{', '.join(names)}}}")
    return whole.replace("\nBODIES\n", "\n" + "\n\n".join(texts) + "\n")


def find(body: str) -> tuple[str, int] | None:
    """Returns the target and the index of a function, if a library with it can be loaded."""
    for built, k in _libraries_by_function().get(digest(body), ()):
        target = _load(built)
        if target is not None:
            return target, k
    return None


def has_any() -> bool:
    """Tells whether any function is built."""
    return bool(_libraries_by_function())


def forget() -> None:
    """Makes the next `find` read the directory again; loaded libraries stay loaded."""
    _libraries_by_function.cache_clear()
    for key in [k for k, target in _targets.items() if target is None]:
        del _targets[key]


@functools.cache
def _libraries_by_function() -> dict[str, list[tuple[Built, int]]]:
    """Maps the digest of a function to the libraries that have it, and its index in each."""
    libraries: dict[str, list[tuple[Built, int]]] = {}
    for built in _read_descriptions():
        for k, body in enumerate(built.bodies):
            libraries.setdefault(body, []).append((built, k))
    return libraries


def _read_descriptions() -> Iterator[Built]:
    """Yields the descriptions of all libraries; warns about those that cannot be read."""
    try:
        with opened() as handle:
            for name in sorted(k for k in os.listdir(handle) if k.endswith(".json")):
                try:
                    yield _read_description(directory() / name, handle)
                except (OSError, ValueError, KeyError, TypeError):
                    _warn(directory() / name, "its description cannot be read")
                except NotPrivate as error:
                    _warn(error.path, error.reason)
    except OSError:  # usually because nothing was built
        return
    except NotPrivate as error:
        _warn(error.path, error.reason)


def _read_description(path: Path, parent: int) -> Built:
    with open(opened_file(path, parent), encoding="utf-8") as file:
        fields = json.load(file)
    return Built(path.with_suffix(".so"), str(fields["sha256"]), [str(k) for k in fields["bodies"]])


_targets: dict[tuple[Path, str], str | None] = {}
"""Path and checksum of a library -> its target in XLA, or None if it cannot be loaded."""

_loaded: dict[str, tuple[str, int]] = {}
"""Checksum of a loaded library -> its target in XLA, and its number of functions."""


def _load(built: Built) -> str | None:
    """Loads a library, registers it with XLA, and returns its target; None if that fails."""
    key = built.path, built.sha256
    if key not in _targets:
        _targets[key] = None
        try:
            with opened() as handle:
                _targets[key] = _load_checked(built, handle)
        except (OSError, ValueError, AttributeError) as error:
            _warn(built.path, str(error))
        except NotPrivate as error:
            _warn(error.path, error.reason)
    return _targets[key]


def _load_checked(built: Built, parent: int) -> str:
    """Loads a library after comparing its checksum, once for each content; returns its target.

    Raises:
      ValueError: the library is not the one that was described.
      NotPrivate: another user may have written the library.
      OSError: the library cannot be read or loaded.
    """
    handle = opened_file(built.path, parent)
    try:
        with open(handle, "rb", closefd=False) as file:
            content = file.read()
        # Loading a truncated file would crash the process.
        if checksum(content) != built.sha256:
            raise ValueError("it is not the file that was built")
        if built.sha256 not in _loaded:
            # Load through the descriptor, because the path may lead to another file by now. A
            # second descriptor stays open: the loader identifies libraries by their names, and must
            # not find a later one under this name.
            checked = Path(f"/proc/self/fd/{handle}")
            name = f"/proc/self/fd/{os.dup(handle)}" if checked.exists() else os.fspath(built.path)
            _loaded[built.sha256] = _register(ctypes.CDLL(name), built.sha256)
    finally:
        os.close(handle)
    target, count = _loaded[built.sha256]
    if count != len(built.bodies):
        raise ValueError("it does not have the functions of its description")
    return target


def _register(library: ctypes.CDLL, sha256: str) -> tuple[str, int]:
    """Registers a library's handler with XLA; returns the target and the number of functions."""
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
        f"functional_optim.native: {file} is not used: {reason}. XLA runs the steps. Fix that, or "
        "remove the file and build again: python -m functional_optim.native",
        RuntimeWarning,
        stacklevel=2,
    )
