"""One object for equal values, so that compiled programs are found by identity."""

import weakref
from typing import Any, TypeVar

__all__ = ["intern"]

T = TypeVar("T")

_pool: "weakref.WeakKeyDictionary[Any, weakref.ref[Any]]" = weakref.WeakKeyDictionary()


def intern(value: T) -> T:
    """Returns the first living object that equals `value`.

    `jax.jit` finds its compiled programs by the identity of the function: with one `update`
    object for all learning rates, a sweep over new transformations compiles once.
    """
    known = _pool.get(value)
    found = known() if known is not None else None
    if found is not None:
        return found
    _pool[value] = weakref.ref(value)
    return value
