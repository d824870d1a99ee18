"""Imports optional libraries."""

import importlib
from types import ModuleType

__all__ = ["import_extra"]


def import_extra(function: str, module: str, extra: str) -> ModuleType:
    """Imports a module that an extra installs.

    Raises:
      ImportError: the module is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{function} needs {module}. Install the extra: pip install 'functional_optim[{extra}]'"
        ) from error
