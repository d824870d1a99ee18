"""Libraries that a bridge needs."""

import importlib
from types import ModuleType

__all__ = ["needed"]


def needed(who: str, module: str, extra: str) -> ModuleType:
    """Imports a module of an extra.

    Raises:
      ImportError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{who} needs {module}. Install the extra: pip install 'functional_optim[{extra}]'"
        ) from error
