"""What can keep the demo from running, said in one sentence."""

import importlib
from typing import Any

__all__ = ["UsageError", "require"]


class UsageError(Exception):
    """The demo cannot do what was asked; the message says why, and what to do instead."""


def require(module: str) -> Any:
    """Imports a module that comes with the extra `demo`.

    Raises:
      UsageError: it cannot be imported; the message names the extra.

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
