"""Where built libraries lie, and what they depend on."""

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
    """Returns the directory that `FUNCTIONAL_OPTIM_CACHE` names, or the user's for caches."""
    named = os.environ.get("FUNCTIONAL_OPTIM_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "functional_optim"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "functional_optim"


def directory() -> Path:
    """Returns the directory of libraries for this machine, jaxlib and version of the loop."""
    return root().joinpath(*_below())


def opened(*, make: bool = False) -> AbstractContextManager[int]:
    """Opens `directory()`, which only this user may write to; see `opened_directory`."""
    return opened_directory(root(), _below(), make=make)


def _below() -> tuple[str, str]:
    return "native", _fits()


@functools.cache
def _fits() -> str:
    return digest(template(), jaxlib.version.__version__, platform.machine(), _processor())


def template() -> str:
    """Returns the text of the loop, without bodies."""
    return (Path(__file__).parent / "kernel.cc").read_text(encoding="utf-8")


def _processor() -> str:
    """Returns the processor's features: a library built for others may crash the process."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("flags", "Features", "model name")
    found = {line.partition(":")[0].strip(): line for line in lines if line.startswith(wanted)}
    return "\n".join(found[k] for k in sorted(found))


def digest(*texts: str) -> str:
    """Computes a short name for texts."""
    hashed = hashlib.sha256()
    for text in texts:
        hashed.update(f"{len(text)}:{text}".encode())
    return hashed.hexdigest()[:16]
