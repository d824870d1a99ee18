"""Built libraries: writing them, finding them, and loading them when they are needed."""

import ctypes
import functools
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax

from .cache import digest, directory, template
from .compiler import compile_library, find_compiler

__all__ = ["add_library", "checksum", "find", "forget", "has_any"]

SYMBOL = "functional_optim_leaf"
"""Of the handler in every library."""


def add_library(bodies: Sequence[str]) -> Path:
    """Builds a library of functions, and puts it where `find` looks; returns its path.

    Files are moved to their place when they are whole, the description last: another process
    sees all of a library or none of it.
    """
    command = find_compiler()
    source = _source(bodies)
    name = digest(source, *command)
    place = directory()
    place.mkdir(parents=True, exist_ok=True)
    library = place / f"{name}.so"
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        written, built = Path(scratch, "kernel.cc"), Path(scratch, "kernel.so")
        written.write_text(source, encoding="utf-8")
        compile_library(command, written, built)
        whole = checksum(built.read_bytes())
        described = Path(scratch, "kernel.json")
        hashes = [digest(body) for body in bodies]
        described.write_text(json.dumps({"sha256": whole, "bodies": hashes}), encoding="utf-8")
        os.replace(built, library)
        os.replace(described, library.with_suffix(".json"))
    forget()
    return library


def _source(bodies: Sequence[str]) -> str:
    names = [f"Body{k}" for k in range(len(bodies))]
    texts = (body.replace("NAME", name) for body, name in zip(bodies, names, strict=True))
    whole = template().replace("{TABLE}", f"{{{', '.join(names)}}}")
    return whole.replace("\nBODIES\n", "\n" + "\n\n".join(texts) + "\n")


def find(body: str) -> tuple[str, int] | None:
    """The target and the number of a function, if a library has it that can be loaded."""
    for described, k in _known().get(digest(body), ()):
        target = _load(described)
        if target is not None:
            return target, k
    return None


def has_any() -> bool:
    """Whether there is a library to look into."""
    return bool(_known())


def forget() -> None:
    """Looks anew for libraries, when one is asked for."""
    _known.cache_clear()


@functools.cache
def _known() -> dict[str, list[tuple[Path, int]]]:
    """Function -> where it is described, and its number there."""
    found: dict[str, list[tuple[Path, int]]] = {}
    place = directory()
    for described in sorted(place.glob("*.json")) if place.is_dir() else ():
        try:
            hashes = list(json.loads(described.read_text(encoding="utf-8"))["bodies"])
        except (OSError, ValueError, KeyError, TypeError):
            _warn(described, "its description cannot be read")
            continue
        for k, name in enumerate(hashes):
            found.setdefault(name, []).append((described, k))
    return found


@functools.cache
def _load(described: Path) -> str | None:
    """Loads a library and makes it known to XLA; the name there, or None where that fails."""
    library = described.with_suffix(".so")
    try:
        content = library.read_bytes()
        expected = json.loads(described.read_text(encoding="utf-8"))["sha256"]
        # A file that is cut short stops the process that loads it.
        if checksum(content) != expected:
            raise ValueError("it is not the file that was built")
        handler = getattr(ctypes.CDLL(str(library)), SYMBOL)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _warn(library, str(error))
        return None
    target = f"{SYMBOL}_{library.stem}"
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(handler), platform="cpu")
    return target


def checksum(content: bytes) -> str:
    """By which a library is known to be the one that was built."""
    return hashlib.sha256(content).hexdigest()


def _warn(file: Path, reason: str) -> None:
    warnings.warn(
        f"functional_optim.native: {file} is not used: {reason}. XLA runs the steps. Remove the "
        "file, or build again: python -m functional_optim.native",
        RuntimeWarning,
        stacklevel=2,
    )
