"""One object for equal values, so that compiled programs are found by identity."""

import collections
import dataclasses
import weakref
from typing import Any, Self

__all__ = ["Interned", "Keyed"]

_pool: "weakref.WeakKeyDictionary[Any, weakref.ref[Any]]" = weakref.WeakKeyDictionary()

# A sweep makes each transformation anew and drops it; what it compiled must outlive that.
_recent: collections.deque[Any] = collections.deque(maxlen=512)


class Keyed:
    """Base of callables by which programs are found as they are: they equal what does the same."""


class Interned(Keyed):
    """Base of frozen dataclasses of which there is one living object for equal fields.

    `jax.jit` finds its compiled programs by the identity of the function: with one `update`
    object for all learning rates, a sweep over new transformations compiles once. Objects
    are made with `of`; copying and unpickling return the existing object.
    """

    @property
    def is_cacheable(self) -> bool:
        """Whether the object may be kept alive: it holds no traced value and no array."""
        return False

    @classmethod
    def of(cls, *fields: Any) -> Self:
        """Returns the living object that has these fields."""
        value = cls(*fields)
        known = _pool.get(value)
        found = known() if known is not None else None
        if found is None:
            _pool[value] = weakref.ref(value)
            if value.is_cacheable:
                _recent.append(value)
            return value
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, f.name) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return _of, (type(self), *values)


def _of(kind: type[Interned], *fields: Any) -> Any:
    return kind.of(*fields)
