"""Lets a package import its public names when they are first used."""

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

    Modules of the package are imported in the same way. A name that is also the name of a module
    of the package must be imported eagerly. Otherwise the import of that module would set the
    attribute to the module, and Python would not call `__getattr__`.

    Args:
      package: the package's `__name__`.
      origins: name -> its module below the root, followed by `:name` where it differs there.
      also: modules that `dir` shows, and that a star import does not import.
    """
    root, attributes = package.partition(".")[0], vars(sys.modules[package])

    def get(name: str) -> Any:
        if name in origins:
            module, _, attribute = origins[name].partition(":")
            value = getattr(importlib.import_module(f"{root}.{module}"), attribute or name)
        # Python asks for names such as `__path__` here, which are not modules.
        elif name.startswith("_") or importlib.util.find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        else:
            value = importlib.import_module(f"{package}.{name}")
        # Stored, so that Python finds the name next time without this function.
        return attributes.setdefault(name, value)

    def public_names() -> list[str]:
        dunders = (name for name in attributes if name.startswith("__"))
        return sorted({*dunders, *attributes["__all__"], *also})

    return get, public_names
