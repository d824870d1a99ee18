"""Warnings at the line of the user's code that caused them."""

import inspect

__all__ = ["users_level"]


def users_level() -> int:
    """The `stacklevel` by which the caller of this function warns whoever called the package."""
    package, level = __name__.partition(".")[0], 0
    frame = inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level
