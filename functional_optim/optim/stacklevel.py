"""Warnings that point at the line of the user's code that caused them."""

import inspect

__all__ = ["user_stacklevel"]


def user_stacklevel() -> int:
    """Returns the `stacklevel` with which the calling function warns at the user's own line."""
    package, level = __name__.partition(".")[0], 0
    frame = inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level
