"""One object for equal values, because JAX finds compiled programs by identity."""

import collections
import dataclasses
import weakref
from typing import Any, Self

__all__ = ["Interned", "Keyed"]

# The values are weak references too, because a strong one would keep its key alive.
_pool: "weakref.WeakKeyDictionary[Interned, weakref.ref[Any]]" = weakref.WeakKeyDictionary()

# A sweep drops each transformation before it makes the next, and both must share programs.
_recent: "collections.deque[Interned]" = collections.deque(maxlen=512)


class Keyed:
    """Base of callables that are equal if they do the same, so that programs are keyed by them."""


class Interned(Keyed):
    """Base of frozen dataclasses that have a single object for equal fields.

    `jax.jit` finds its compiled programs by the identity of the function: with one `update`
    object for all learning rates, a sweep over new transformations compiles once. Objects
    are made with `of`; copying and unpickling return the existing object.
    """

    def __init_subclass__(cls) -> None:
        """Names the `update` of a transformation as users call it, in Python's own errors."""
        super().__init_subclass__()
        call: Any = cls.__dict__.get("__call__")
        if call is not None and "updates" in call.__code__.co_varnames[:2]:
            call.__qualname__ = "update"

    @property
    def is_cacheable(self) -> bool:
        """Whether a cache may keep the object alive: it references no tracer and no array."""
        return False

    @classmethod
    def of(cls, *fields: Any) -> Self:
        """Returns the existing object with these fields, or a new one."""
        # Made first, because the pool finds an equal object by a comparison with it.
        value = cls(*fields)
        reference = _pool.get(value)
        existing: Self | None = None if reference is None else reference()
        if existing is not None:
            return existing
        _pool[value] = weakref.ref(value)
        if value.is_cacheable:
            _recent.append(value)
        return value

    # `of` is called, so that copying and unpickling return the existing object.
    def __reduce__(self) -> tuple[object, ...]:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        values = (getattr(self, f.name) for f in fields if f.init)
        return _of, (type(self), *values)


def _of(kind: type[Interned], *fields: Any) -> Interned:
    return kind.of(*fields)
