"""Imports the optional packages that the demo needs."""

import importlib
from typing import Any

__all__ = ["UsageError", "require"]


class UsageError(Exception):
    """Raised if the demo cannot run with its options; the message has the reason and a remedy."""


def require(module: str) -> Any:
    """Imports a module that the extra `demo` installs.

    Raises:
      UsageError: the module cannot be imported; the message names the extra.

    Example:
      >>> require("math").tau > 6
      True
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"the demo needs {module.split('.')[0]}, which cannot be imported ({error}). "
            "Install it: pip install 'functional_optim[demo]'"
        ) from error
