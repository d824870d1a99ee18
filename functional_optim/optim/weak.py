"""A cache by function that does not keep the function, nor what it closes over, alive."""

import collections
import types
import warnings
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from .user_line import users_level

__all__ = ["Get", "WeakPrograms"]

Get = Callable[[], Callable[..., Any]]
"""Finds a function, which is alive while it is called."""


_MANY = 4
"""Functions of one code from which on it looks like a loop."""


class WeakPrograms:
    """Programs made for functions, each forgotten with its function.

    A program must not hold its function: it is given a way to find it. Bound methods, which
    are made anew at each access, and objects without weak references are kept for good.

    Args:
      make: `(get, *key) -> program`.
    """

    def __init__(self, make: Callable[..., Any]):
        self._make = make
        self._weak: dict[int, tuple[Any, dict[Any, Any]]] = {}
        self._strong: dict[Any, Any] = {}
        self._alike: collections.Counter[Any] = collections.Counter()

    def __call__(self, function: Callable[..., Any], *key: Hashable) -> Any:
        """The program for a function and a key."""
        kept = self._programs_of(function)
        if kept is None:
            if (function, key) not in self._strong:
                self._strong[function, key] = self._make(lambda: function, *key)
            return self._strong[function, key]
        get, programs = kept
        if key not in programs:
            self._warn_of_many(function)
            programs[key] = self._make(get, *key)
        return programs[key]

    def _warn_of_many(self, function: Callable[..., Any]) -> None:
        """Warns where one function is written, but made anew, and compiled, again and again."""
        code = getattr(function, "__code__", None)
        self._alike[code] += 1
        if code is not None and self._alike[code] == _MANY:
            warnings.warn(
                f"{_MANY} functions made at line {code.co_firstlineno} of {code.co_filename} have "
                "been compiled, each for itself. Make the function once, outside of the loop, and "
                "pass it the data that changes, as in minimize(loss_fn, *data).",
                stacklevel=users_level(),
            )

    def _programs_of(self, function: Callable[..., Any]) -> tuple[Any, dict[Any, Any]] | None:
        """A weak reference to the function, and its programs; None for one that has no such."""
        number = id(function)
        if number in self._weak:
            return self._weak[number]
        if isinstance(function, types.MethodType):
            return None
        try:
            reference = weakref.ref(function, lambda _: self._weak.pop(number, None))
        except TypeError:
            return None
        return self._weak.setdefault(number, (reference, {}))
