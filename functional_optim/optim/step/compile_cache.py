"""A cache of compiled programs by function, which keeps neither function nor closure alive."""

import collections
import types
import warnings
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from ..stacklevel import user_stacklevel

__all__ = ["CompileCache", "GetFunction"]

GetFunction = Callable[[], Callable[..., Any]]
"""Returns the function of a program, which is alive while the program is called."""


_MANY = 4
"""Warn after this many functions with one code object: probably a new lambda each iteration."""


class CompileCache:
    """Programs made for functions, each dropped with its function.

    A program must not refer to its function: it is given a way to get it. Bound methods, which
    Python makes again at each access, and objects without weak references are kept for good.

    Args:
      make: `(get_function, *key) -> program`.
      warns: whether to warn of many functions from one line.
    """

    def __init__(self, make: Callable[..., Callable[..., Any]], *, warns: bool = True):
        self.make, self._warns = make, warns
        self._weak: dict[int, tuple[GetFunction, dict[Any, Callable[..., Any]]]] = {}
        self._strong: dict[Any, Callable[..., Any]] = {}
        self._functions_of_code: collections.Counter[Any] = collections.Counter()

    def __call__(self, function: Callable[..., Any], *key: Hashable) -> Callable[..., Any]:
        """Returns the program for a function and a key."""
        entry = self._weak_entry(function)
        if entry is None:
            if (function, key) not in self._strong:
                self._strong[function, key] = self.make(lambda: function, *key)
            return self._strong[function, key]
        get_function, programs = entry
        if key not in programs:
            if self._warns:
                self._warn_of_many(function)
            programs[key] = self.make(get_function, *key)
        return programs[key]

    def _warn_of_many(self, function: Callable[..., Any]) -> None:
        """Warns where the same source makes new functions, each of which is compiled again."""
        code = getattr(function, "__code__", None)
        self._functions_of_code[code] += 1
        if code is not None and self._functions_of_code[code] == _MANY:
            warnings.warn(
                f"{_MANY} functions made at line {code.co_firstlineno} of {code.co_filename} have "
                "been compiled, each for itself. Make the function once, outside of the loop, and "
                "pass it the data that changes, as in minimize(loss_fn, *data).",
                stacklevel=user_stacklevel(),
            )

    def _weak_entry(
        self, function: Callable[..., Any]
    ) -> tuple[GetFunction, dict[Any, Callable[..., Any]]] | None:
        """Returns a weak reference and the programs of a function; None if it has no such."""
        number = id(function)
        if number in self._weak:
            return self._weak[number]
        if isinstance(function, types.MethodType):
            return None
        try:
            reference: Any = weakref.ref(function, lambda _: self._weak.pop(number, None))
        except TypeError:
            return None
        return self._weak.setdefault(number, (reference, {}))
