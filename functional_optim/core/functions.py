"""A user's functions, by which compiled programs are found: never by more than what they see."""

import builtins
import dataclasses
import enum
import functools
import hashlib
import sys
import types
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import numpy as np

from .caching import Keyed

__all__ = ["Function", "as_function", "keepable", "program_key", "what_it_sees"]


class Function:
    """A callable of any kind that can be hashed, and that stands for what the callable sees.

    There is one for a function, as long as it can be seen that it would do the same: that it reads
    equal values from its closure, its globals and its own attributes. After a change there is
    another, so that no program of one serves the other.
    """

    def __init__(self, function: Callable[..., Any], key: Hashable | None):
        self.function = self.__wrapped__ = function  # by which inspect finds the signature
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)
        self._key = key

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        if self._key is not None and program_key(self.function) != self._key:
            # It sees something else than when it was taken: no later one may be this one.
            _shared.pop(self._key, None)
            self._key = None
        return self.function(*args, **kwargs)

    @property
    def is_cacheable(self) -> bool:
        """Whether it may be kept alive: an equal one may come, and it holds no array."""
        return self._key is not None and not _holds_array(self._key)

    def __repr__(self) -> str:
        return repr(self.function)

    def __copy__(self) -> "Function":
        return self

    def __deepcopy__(self, _: Any) -> "Function":
        return self  # as Python copies functions

    def __reduce__(self) -> Any:
        return as_function, (self.function,)


_shared: "weakref.WeakValueDictionary[Hashable, Function]" = weakref.WeakValueDictionary()


def as_function(function: Callable[..., Any]) -> Any:
    """Makes a callable one that can be hashed, by what it sees now; ours stay as they are."""
    if isinstance(function, (Function, Keyed)):
        return function
    key = program_key(function)
    if key is None:
        return Function(function, None)
    found = _shared.get(key)
    if found is None:
        found = _shared[key] = Function(function, key)
    return found


def keepable(value: Any) -> bool:
    """Tells whether a value may be kept alive: it holds no function that must not be."""
    if isinstance(value, Function):
        return value.is_cacheable
    if isinstance(value, tuple):
        return all(map(keepable, value))
    fields = getattr(value, "__dataclass_fields__", None)
    return fields is None or all(keepable(getattr(value, k)) for k in fields)


def program_key(value: Any) -> Hashable | None:
    """Returns a key of programs for a user's value: which it is, and all that it sees at present.

    None where that cannot be known: then a program belongs to no other than its maker.
    """
    seen = what_it_sees(value)
    return None if seen is None else (_identity(value), seen)


def _identity(value: Any) -> Hashable:
    """Which object it is; of values that cannot change, which value."""
    if type(value) in _PLAIN:
        return type(value), value
    if type(value) in (float, complex):
        return type(value), repr(value)
    if isinstance(value, tuple):
        return type(value), tuple(map(_identity, value))
    if isinstance(value, types.MethodType):  # made again at each access
        return _Same(value.__func__), _Same(value.__self__)
    if _is_frozen(value) and _is_constant(type(value).__module__):
        return type(value), tuple(_identity(getattr(value, f.name)) for f in _fields(value))
    return _Same(value)


def _is_frozen(x: Any) -> bool:
    parameters = getattr(type(x), "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


def _fields(x: Any) -> tuple[Any, ...]:
    """Those that count when it is compared."""
    return tuple(f for f in dataclasses.fields(x) if f.compare)


def what_it_sees(function: Any) -> Hashable | None:
    """Everything that the results of a callable can depend on besides its arguments.

    Code, defaults, the closure, the globals that it names, attributes of objects, and the same of
    all functions that it can reach; those of the standard library and of JAX are constants.

    Returns:
      A value that is equal at two times only if the callable does the same; None where that cannot
      be known.
    """
    try:
        return _Reader().key(function, frozenset())
    except _UnknownError:
        return None


class _UnknownError(Exception):
    """What a function sees cannot be told."""


class _Same:
    """Stands for an object that equals itself alone, and does not keep it alive if it need not."""

    def __init__(self, value: Any):
        self._hash, self.is_array = id(value), isinstance(value, jax.Array)
        try:
            self.value: Callable[[], Any] = weakref.ref(value)
        except TypeError:
            self.value = lambda: value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        return self is other or (self.value() is other.value() is not None)

    def __hash__(self) -> int:
        return self._hash


def _holds_array(key: Any) -> bool:
    if isinstance(key, (tuple, frozenset)):
        return any(map(_holds_array, key))
    return isinstance(key, _Same) and key.is_array


_PLAIN = (bool, int, str, bytes, type(None), type(...), range)

_UNCHANGING = (
    jax.Array,
    enum.Enum,
    np.dtype,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
"""Objects of which it is enough to know which they are."""

_MOST_OBJECTS = 2_000
_MOST_BYTES = 2**24
"""How much is looked at; a function that can reach more is not compared."""

_CONSTANT = {*sys.stdlib_module_names, "jax", "jaxlib", "numpy", "scipy", "optax", "flax"}
_CONSTANT |= {"equinox", "chex", __name__.partition(".")[0]}
"""Packages whose functions and classes do not change during a run."""

_BY_TEXT = {"eval", "exec", "globals", "locals", "vars", "getattr", "open", "input", "__import__"}
"""Builtins by which a function reads what its code does not name."""


def _is_constant(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _CONSTANT


class _Reader:
    """Reads what can be reached from an object, each part once on the way down."""

    def __init__(self) -> None:
        self.objects, self.bytes = _MOST_OBJECTS, _MOST_BYTES
        self.above: dict[int, int] = {}

    def key(self, x: Any, names: frozenset[str]) -> Hashable:
        """What can be reached from x by code that names `names`."""
        kind = type(x)
        self.objects -= 1
        if not self.objects:
            raise _UnknownError
        if kind in _PLAIN:
            return kind, x
        if kind in (float, complex):
            return kind, repr(x)  # 0.0 is not -0.0, and NaN is NaN
        if id(x) in self.above:
            return "above", self.above[id(x)]
        self.above[id(x)] = len(self.above)
        try:
            return self._key(x, names)
        finally:
            del self.above[id(x)]

    def _key(self, x: Any, names: frozenset[str]) -> Hashable:
        if isinstance(x, jax.core.Tracer):
            raise _UnknownError
        if isinstance(x, (Function, Keyed, *_UNCHANGING)) or type(x) is object:
            return _Same(x)
        if isinstance(x, (np.ndarray, np.generic)):
            return self._numbers(np.asarray(x))
        if isinstance(x, types.ModuleType):
            found = {k: v for k, v in vars(x).items() if k in names}
            return _Same(x), self._named(found, names)
        if isinstance(x, type):
            return self._class(x)
        if isinstance(x, types.FunctionType):
            return self._function(x)
        if isinstance(x, types.CodeType):
            return x
        return self._instance(x, names)

    def _numbers(self, x: np.ndarray[Any, Any]) -> Hashable:
        self.bytes -= x.nbytes
        if x.dtype.hasobject or self.bytes < 0:
            raise _UnknownError
        digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes()).digest()
        return x.shape, str(x.dtype), digest

    def _class(self, x: type) -> Hashable:
        if _is_constant(x.__module__):
            return _Same(x)
        own = {k: v for k, v in vars(x).items() if not k.startswith(("__", "_abc_"))}
        if "__call__" in vars(x):
            own["__call__"] = vars(x)["__call__"]
        bases = tuple(self.key(base, frozenset()) for base in x.__bases__)
        return _Same(x), bases, self._named(own, frozenset())

    def _function(self, x: types.FunctionType) -> Hashable:
        names = _names(x.__code__)
        cells = tuple(self._cell(cell, names) for cell in x.__closure__ or ())
        attributes = {k: v for k, v in vars(x).items() if not k.startswith("__")}
        defaults = self.key((x.__defaults__, x.__kwdefaults__, attributes), names)
        seen = {}
        if not _is_constant(x.__globals__.get("__name__")):
            for name in names:
                if name in x.__globals__:
                    seen[name] = x.__globals__[name]
                elif name in _BY_TEXT:
                    raise _UnknownError
                elif not hasattr(builtins, name) and name in sys.modules:  # imported within
                    seen[name] = sys.modules[name]
        return x.__code__, defaults, cells, self._named(seen, names)

    def _cell(self, cell: Any, names: frozenset[str]) -> Hashable:
        try:
            return self.key(cell.cell_contents, names)
        except ValueError:  # not filled yet
            return "empty"

    def _named(self, values: Mapping[str, Any], names: frozenset[str]) -> Hashable:
        return tuple((k, self.key(values[k], names)) for k in sorted(values))

    def _instance(self, x: Any, names: frozenset[str]) -> Hashable:
        parts: tuple[Any, ...]
        kind = type(x)
        if isinstance(x, (tuple, list)):
            parts = tuple(x)
        elif isinstance(x, (set, frozenset)):
            return self.key(kind, names), frozenset(self.key(part, names) for part in x)
        elif isinstance(x, dict):
            parts = tuple(x.items())
        elif isinstance(x, functools.partial):
            parts = x.func, x.args, x.keywords
        elif isinstance(x, types.MethodType):
            parts = x.__func__, x.__self__
        elif isinstance(x, (types.BuiltinFunctionType, types.MethodWrapperType)):
            parts = x.__name__, x.__self__
        elif isinstance(x, (staticmethod, classmethod)):
            parts = (x.__func__,)
        elif isinstance(x, property):
            parts = x.fget, x.fset
        elif kind.__module__.partition(".")[0] in ("jax", "jaxlib"):
            # Immutable, such as shardings and structures; jitted functions show what they wrap.
            return _Same(x), self.key(getattr(x, "__wrapped__", None), names)
        elif _is_frozen(x):
            parts = tuple(getattr(x, f.name) for f in _fields(x))
        elif hasattr(x, "__dict__"):
            parts = (vars(x),)
        else:
            raise _UnknownError
        return self.key(kind, names), tuple(self.key(part, names) for part in parts)


@functools.lru_cache(maxsize=1024)
def _names(code: types.CodeType) -> frozenset[str]:
    """Returns the names that code reads, also within functions that it makes."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return frozenset(code.co_names).union(*inner)
