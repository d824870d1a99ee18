"""Users' functions, as keys by which compiled programs are found.

JAX finds a compiled program by the function that was traced. The function of a user is not a safe
key for that. The values that the function read when it was traced, from its closure, its globals
or its attributes, are constants of the program, and they may change while the function stays the
same object. On the other hand, an object that is wrapped again for each transformation would
compile again each time.

So `as_function` wraps each user's function in a `Function`, which programs are keyed by. Two calls
return the same `Function` only if two conditions hold:

1. They are given the same object. Immutable values count as the same if they are equal, and so do
   bound methods of one object, because Python makes these again at each access. Mutable objects
   are compared by identity: two functions over two empty lists may fill them differently.
2. All that the function can read besides its arguments is unchanged: `dependencies_of` collects it.

Where a part of this cannot be known (the function calls `eval`, reads a tracer, or reaches too many
objects), the wrapper equals only itself: no program is shared, and every result is still right.
"""

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

__all__ = ["Function", "as_function", "can_be_cached", "dependencies_of", "program_key"]


class Function:
    """A callable of any kind, made hashable by its identity and by the values that it reads.

    While these values do not change, `as_function` returns one object for one function. After a
    change it returns another, so that the program of one is not run for the other.

    Args:
      function: the callable.
      key: its `program_key`; None if that is unknown.
    """

    def __init__(self, function: Callable[..., Any], key: Hashable | None):
        # inspect finds the signature by `__wrapped__`.
        self.function = self.__wrapped__ = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)
        self._key = key

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        if self._key is not None and program_key(self.function) != self._key:
            # The function reads other values than when it was wrapped, and a program that is
            # traced by this call has them built in. No later function may be given this object.
            _functions.pop(self._key, None)
            self._key = None
        return self.function(*args, **kwargs)

    @property
    def is_cacheable(self) -> bool:
        """Whether a cache may keep it: it may be needed again, and it references no array."""
        return self._key is not None and not _references_array(self._key)

    def __repr__(self) -> str:
        return repr(self.function)

    # Python's own functions are copied by reference, and so is this one.
    def __copy__(self) -> "Function":
        return self

    def __deepcopy__(self, _: object) -> "Function":
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Callable[..., Any]]]:
        return as_function, (self.function,)


_functions: "weakref.WeakValueDictionary[Hashable, Function]" = weakref.WeakValueDictionary()
"""The existing wrappers by their keys."""


def as_function(function: Callable[..., Any]) -> Any:
    """Makes a callable hashable by its identity and by the values that it reads at present.

    Callables of this package that are equal if they do the same are returned unchanged.
    """
    if isinstance(function, (Function, Keyed)):
        return function
    key = program_key(function)
    if key is None:
        return Function(function, None)
    existing = _functions.get(key)
    if existing is None:
        existing = _functions[key] = Function(function, key)
    return existing


def can_be_cached(value: object) -> bool:
    """Tells whether a cache may keep a value alive: all functions within it allow that."""
    if isinstance(value, Function):
        return value.is_cacheable
    if isinstance(value, tuple):
        return all(map(can_be_cached, value))
    fields = getattr(value, "__dataclass_fields__", None)
    return fields is None or all(can_be_cached(getattr(value, k)) for k in fields)


# A key has two parts: which object it is, and all that the object can read.


def program_key(value: object) -> Hashable | None:
    """Returns a key of programs for a user's value: its identity, and all that it reads at present.

    None if that cannot be known: then no other value may share the programs of this one.
    """
    dependencies = dependencies_of(value)
    return None if dependencies is None else (_identity(value), dependencies)


def _identity(value: Any) -> Hashable:
    """Returns a key of the object itself; equal immutable values have equal keys."""
    if type(value) in _PLAIN_TYPES:
        return type(value), value
    if type(value) in (float, complex):
        return type(value), repr(value)  # 0.0 is not -0.0, and NaN equals NaN
    if isinstance(value, tuple):
        return type(value), tuple(map(_identity, value))
    if isinstance(value, types.MethodType):  # made again at each access
        return _ByIdentity(value.__func__), _ByIdentity(value.__self__)
    if _is_frozen(value) and _is_constant(type(value).__module__):
        return type(value), tuple(_identity(x) for x in _compared_values(value))
    return _ByIdentity(value)


def dependencies_of(function: object) -> Hashable | None:
    """Collects everything that the results of a callable can depend on besides its arguments.

    That is its code, defaults and closure, the globals that it names, the attributes of objects,
    and the same of all functions that it can reach. Functions of the standard library, of JAX and
    of the other packages in `_CONSTANT_PACKAGES` are taken for constants.

    Returns:
      A value that is equal at two times only if the callable does the same at both; None if that
      cannot be known.
    """
    try:
        return _DependencyReader().key(function, frozenset())
    except _UnknownError:
        return None


class _UnknownError(Exception):
    """The dependencies of a function cannot be known."""


class _ByIdentity:
    """Compares an object by identity, and references it weakly where its type allows that."""

    def __init__(self, value: object):
        self._hash, self.is_array = id(value), isinstance(value, jax.Array)
        self.value: Callable[[], object]
        try:
            self.value = weakref.ref(value)
        except TypeError:
            self.value = lambda: value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _ByIdentity):
            return NotImplemented
        # The references to deleted objects all give None, which must not make them equal.
        return self is other or (self.value() is other.value() is not None)

    def __hash__(self) -> int:
        return self._hash


def _references_array(key: object) -> bool:
    if isinstance(key, (tuple, frozenset)):
        return any(map(_references_array, key))
    return isinstance(key, _ByIdentity) and key.is_array


# Three lists: types compared by value, types compared by identity, and constant packages.

_PLAIN_TYPES = (bool, int, str, bytes, type(None), type(...), range)
"""Types that are compared by value; floats are too, but by their text."""

_IMMUTABLE_TYPES = (
    jax.Array,
    enum.Enum,
    np.dtype,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
"""Types whose objects are compared by identity, because the same object has the same value."""

_MAX_OBJECTS = 2_000
_MAX_BYTES = 2**24
"""Limits of a comparison: a function that reaches more objects or NumPy data shares nothing."""

_CONSTANT_PACKAGES = {
    *sys.stdlib_module_names,
    *("jax", "jaxlib", "numpy", "scipy", "optax", "flax", "equinox", "chex"),
    __name__.partition(".")[0],
}
"""Packages whose functions and classes do not change during a run."""

_DYNAMIC_BUILTINS = {
    *("eval", "exec", "globals", "locals", "vars", "getattr", "open", "input", "__import__")
}
"""Builtins by which a function reads values that its code does not name."""


def _is_constant(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _CONSTANT_PACKAGES


def _is_frozen(x: object) -> bool:
    parameters = getattr(type(x), "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


def _compared_values(x: Any) -> tuple[Any, ...]:
    """Returns the fields of a dataclass by which it is compared."""
    return tuple(getattr(x, f.name) for f in dataclasses.fields(x) if f.compare)


class _DependencyReader:
    """Builds a key of all values that can be reached from an object.

    It descends through closures, containers and attributes. An object within itself is replaced by
    its depth, which ends the recursion, and gives the same cycle the same key.
    """

    def __init__(self) -> None:
        self.objects_left, self.bytes_left = _MAX_OBJECTS, _MAX_BYTES
        self.depth_of_ancestor: dict[int, int] = {}

    def key(self, x: Any, names: frozenset[str]) -> Hashable:
        """Returns the key of `x`.

        Args:
          x: any object.
          names: all names in the code that reads x; other attributes of a module do not matter.

        Raises:
          _UnknownError: a tracer, an iterator or the like is within x, or x is too large.
        """
        kind = type(x)
        self.objects_left -= 1
        if not self.objects_left:
            raise _UnknownError
        if kind in _PLAIN_TYPES:
            return kind, x
        if kind in (float, complex):
            return kind, repr(x)  # 0.0 is not -0.0, and NaN equals NaN
        if id(x) in self.depth_of_ancestor:
            return "ancestor", self.depth_of_ancestor[id(x)]
        self.depth_of_ancestor[id(x)] = len(self.depth_of_ancestor)
        try:
            return self._key_of_object(x, names)
        finally:
            del self.depth_of_ancestor[id(x)]

    def _key_of_object(self, x: Any, names: frozenset[str]) -> Hashable:
        # A tracer has no value to compare, and must not outlive its trace.
        if isinstance(x, jax.core.Tracer):
            raise _UnknownError
        if isinstance(x, (Function, Keyed, *_IMMUTABLE_TYPES)) or type(x) is object:
            return _ByIdentity(x)
        if isinstance(x, (np.ndarray, np.generic)):
            return self._key_of_array(np.asarray(x))
        if isinstance(x, types.ModuleType):
            attributes = {k: v for k, v in vars(x).items() if k in names}
            return _ByIdentity(x), self._key_of_items(attributes, names)
        if isinstance(x, type):
            return self._key_of_class(x)
        if isinstance(x, types.FunctionType):
            return self._key_of_function(x)
        if isinstance(x, types.CodeType):
            return x  # Python compares code by its content
        return self._key_of_instance(x, names)

    def _key_of_array(self, x: np.ndarray[Any, Any]) -> Hashable:
        # NumPy arrays can be written to, so their values count.
        self.bytes_left -= x.nbytes
        if x.dtype.hasobject or self.bytes_left < 0:
            raise _UnknownError
        digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes()).digest()
        return x.shape, str(x.dtype), digest

    def _key_of_class(self, x: type) -> Hashable:
        if _is_constant(x.__module__):
            return _ByIdentity(x)
        # Without attributes that Python and `abc` set, except the one that a call runs.
        members = {k: v for k, v in vars(x).items() if not k.startswith(("__", "_abc_"))}
        if "__call__" in vars(x):
            members["__call__"] = vars(x)["__call__"]
        bases = tuple(self.key(base, frozenset()) for base in x.__bases__)
        return _ByIdentity(x), bases, self._key_of_items(members, frozenset())

    def _key_of_function(self, x: types.FunctionType) -> Hashable:
        names = _names(x.__code__)
        cells = tuple(self._key_of_cell(cell, names) for cell in x.__closure__ or ())
        attributes = {k: v for k, v in vars(x).items() if not k.startswith("__")}
        defaults = self.key((x.__defaults__, x.__kwdefaults__, attributes), names)
        read_globals = {}
        if not _is_constant(x.__globals__.get("__name__")):
            for name in names:
                if name in x.__globals__:
                    read_globals[name] = x.__globals__[name]
                elif name in _DYNAMIC_BUILTINS:
                    raise _UnknownError
                elif not hasattr(builtins, name) and name in sys.modules:
                    # A module that is imported within the function.
                    read_globals[name] = sys.modules[name]
        return x.__code__, defaults, cells, self._key_of_items(read_globals, names)

    def _key_of_cell(self, cell: types.CellType, names: frozenset[str]) -> Hashable:
        try:
            return self.key(cell.cell_contents, names)
        except ValueError:  # a variable that has no value yet
            return "empty"

    def _key_of_items(self, values: Mapping[str, Any], names: frozenset[str]) -> Hashable:
        return tuple((k, self.key(values[k], names)) for k in sorted(values))

    def _key_of_instance(self, x: Any, names: frozenset[str]) -> Hashable:
        """Returns the key of an object of any other class: its class, and its parts in order."""
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
            # Shardings and tree structures are immutable; a jitted function wraps a user's.
            return _ByIdentity(x), self.key(getattr(x, "__wrapped__", None), names)
        elif _is_frozen(x):
            parts = _compared_values(x)
        elif hasattr(x, "__dict__"):
            parts = (vars(x),)
        else:
            raise _UnknownError
        return self.key(kind, names), tuple(self.key(part, names) for part in parts)


@functools.lru_cache(maxsize=1024)
def _names(code: types.CodeType) -> frozenset[str]:
    """Returns the names that code reads, also in the functions that it defines."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return frozenset(code.co_names).union(*inner)
