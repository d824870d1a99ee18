"""The directory of built libraries, named by everything that they depend on."""

import functools
import hashlib
import os
import platform
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import jaxlib.version

from .private_files import opened_directory

__all__ = ["directory", "digest", "opened", "root", "template"]


def root() -> Path:
    """Returns the directory that `FUNCTIONAL_OPTIM_CACHE` names, or the user's cache directory."""
    named = os.environ.get("FUNCTIONAL_OPTIM_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "functional_optim"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "functional_optim"


def directory() -> Path:
    """Returns the directory of libraries for this processor, jaxlib and version of `kernel.cc`."""
    return root().joinpath(*_subdirectories())


def opened(*, make: bool = False) -> AbstractContextManager[int]:
    """Opens `directory()`, which only this user may write to; see `opened_directory`."""
    return opened_directory(root(), _subdirectories(), make=make)


def _subdirectories() -> tuple[str, str]:
    return "native", _platform_digest()


@functools.cache
def _platform_digest() -> str:
    """Returns a digest of everything that decides whether a library runs in this process."""
    return digest(template(), jaxlib.version.__version__, platform.machine(), _processor())


def template() -> str:
    """Returns the C++ code around the loops: block scheduling and the handler for XLA."""
    return (Path(__file__).parent / "kernel.cc").read_text(encoding="utf-8")


def _processor() -> str:
    """Returns the processor's features: a library built for others may crash the process."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("flags", "Features", "model name")
    features = {line.partition(":")[0].strip(): line for line in lines if line.startswith(wanted)}
    return "\n".join(features[k] for k in sorted(features))


def digest(*texts: str) -> str:
    """Computes a short digest of texts, to be used in file names."""
    hashed = hashlib.sha256()
    for text in texts:
        hashed.update(f"{len(text)}:{text}".encode())
    return hashed.hexdigest()[:16]
