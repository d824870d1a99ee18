"""A cache of compiled programs by function, which keeps neither function nor closure alive."""

import collections
import types
import warnings
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from ...core.protocol import PyTree
from ..stacklevel import user_stacklevel

__all__ = ["CompileCache", "GetFunction"]

GetFunction = Callable[[], Callable[..., PyTree]]
"""Returns the function of a program, which is alive while the program is called."""

Program = Callable[..., PyTree]


_MANY = 4
"""Warn after this many functions with one code object: probably a new lambda each iteration."""


class CompileCache:
    """Programs made for functions, each dropped with its function.

    A program must not refer to its function, but to `get_function`. Bound methods, which Python
    makes again at each access, and objects without weak references are never dropped.

    Args:
      make: `(get_function, *key) -> program`.
      warns: whether to warn if many functions come from one line.
    """

    def __init__(self, make: Callable[..., Program], *, warns: bool = True):
        self.make, self._warns = make, warns
        self._weak: dict[int, tuple[GetFunction, dict[Hashable, Program]]] = {}
        self._strong: dict[Hashable, Program] = {}
        self._functions_of_code: collections.Counter[object] = collections.Counter()

    def __call__(self, function: Callable[..., PyTree], *key: Hashable) -> Program:
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

    def _warn_of_many(self, function: Callable[..., PyTree]) -> None:
        """Warns if one line of source makes new functions, because each is compiled again."""
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
        self, function: Callable[..., PyTree]
    ) -> tuple[GetFunction, dict[Hashable, Program]] | None:
        """Returns a weak reference to a function and its programs; None if there can be none."""
        key = id(function)
        if key in self._weak:
            return self._weak[key]
        # A weak reference to a bound method is dead immediately.
        if isinstance(function, types.MethodType):
            return None
        try:
            reference: Any = weakref.ref(function, lambda _: self._weak.pop(key, None))
        except TypeError:
            return None
        return self._weak.setdefault(key, (reference, {}))
