"""Warnings that point at the line of the user's code that caused them."""

import inspect

__all__ = ["user_stacklevel"]


_BETWEEN = (__name__.partition(".")[0], "jax", "contextlib")
"""Packages whose frames lie between the user's line and a warning; JAX's do during tracing."""


def user_stacklevel() -> int:
    """Returns the `stacklevel` with which the calling function warns at the user's line."""
    level = 0
    frame = inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    return level
