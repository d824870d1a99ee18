"""Packages that import their names where these are first used."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, origins: Mapping[str, str], also: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns the `__getattr__` and the `__dir__` of a package.

    A module within the package is imported as well where it is named. A name that a module of the
    package has too must be imported with the package: importing that module sets it, and Python
    then asks for nothing.

    Args:
      package: its `__name__`.
      origins: name -> module below the root that has it, with `:name` where it has another there.
      also: modules that `dir` shows, and that a star import does not import.
    """
    root, here = package.partition(".")[0], vars(sys.modules[package])

    def get(name: str) -> Any:
        if name in origins:
            module, _, attribute = origins[name].partition(":")
            value = getattr(importlib.import_module(f"{root}.{module}"), attribute or name)
        elif name.startswith("_") or importlib.util.find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        else:
            value = importlib.import_module(f"{package}.{name}")
        return here.setdefault(name, value)

    def public_names() -> list[str]:
        dunders = (name for name in here if name.startswith("__"))
        return sorted({*dunders, *here["__all__"], *also})

    return get, public_names
