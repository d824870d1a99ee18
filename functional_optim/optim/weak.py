"""A cache by function that does not keep the function, nor what it closes over, alive."""

import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["Get", "WeakPrograms"]

Get = Callable[[], Callable[..., Any]]
"""Finds a function, which is alive while it is called."""


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

    def __call__(self, function: Callable[..., Any], *key: Hashable) -> Any:
        """The program for a function and a key."""
        kept = self._programs_of(function)
        if kept is None:
            if (function, key) not in self._strong:
                self._strong[function, key] = self._make(lambda: function, *key)
            return self._strong[function, key]
        get, programs = kept
        if key not in programs:
            programs[key] = self._make(get, *key)
        return programs[key]

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
