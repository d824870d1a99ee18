"""The container of every state: a tuple whose fields have names."""

import collections
import copyreg
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeGuard, cast

import jax

__all__ = ["KeyPath", "State", "is_rule_state", "nested_states", "states_below"]

KeyPath = tuple[Hashable, ...]
"""The keys from the root of a tree to one of its nodes, as `jax.tree_util` returns them."""


_LOOKED_UP = ("metrics", "scalars", "carry")
"""Fields with named numbers of a whole tree, which also read as attributes of the state."""


class _StateType(type):
    """The class of classes of states, which pickle by their fields and not by a name."""

    _fields: tuple[str, ...]


class State(tuple[Any, ...], metaclass=_StateType):
    """Named values in order: an immutable pytree node.

    Reads like a NamedTuple (`state.mu`, `state[0]`, iteration, `_fields`, `_asdict`,
    `_replace`) and also by name (`state["scale_by_adam"]`). Its field names are the keys of
    its pytree paths, so that the path of a moment reads `.scale_by_adam.mu['dense']`, with any
    links before it in a chain. Each set of names has a subclass of `State`, which is made when it
    is first needed. JAX flattens it in C++, as it does NamedTuples. A pickled state can be loaded
    without the transformation that made it.

    A name that is not a field is looked up in the fields `metrics`, `scalars` and `carry`:
    `state.last_finite` is `state.metrics["last_finite"]`. That works for attributes only: the name
    is not a key of a path, and `state["last_finite"]` raises KeyError.

    Example:
      >>> s = State(count=3, mu={"w": 1.0})
      >>> s.mu, s["count"], s[1]
      ({'w': 1.0}, 3, {'w': 1.0})
      >>> s._replace(count=4)
      State(count=4, mu={'w': 1.0})
    """

    __slots__ = ()

    _fields: tuple[str, ...] = ()

    def __new__(cls, /, **fields: Any) -> "State":
        """Makes a state of the given fields."""
        # The class for these names has another `__new__`, which JAX calls with values alone.
        return tuple.__new__(_class_of(tuple(fields)), fields.values())

    @classmethod
    def _build(cls, names: tuple[str, ...], values: Iterable[Any]) -> "State":
        return tuple.__new__(_class_of(names), values)

    def __getattr__(self, name: str) -> Any:
        # Called only for names that are neither a field nor a method.
        for field in _LOOKED_UP:
            values = self[field] if field in self._fields else {}
            if isinstance(values, dict) and name in values:
                return values[name]
        raise AttributeError(self._missing_field(name))

    # `count` and `index` are methods of tuple, and would hide metrics of those names.
    count = property(lambda self: self.__getattr__("count"))
    index = property(lambda self: self.__getattr__("index"))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a state is immutable; use state._replace({name}=...).")

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._fields:
                raise KeyError(self._missing_field(key))
            return tuple.__getitem__(self, self._fields.index(key))
        return tuple.__getitem__(self, key)

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __repr__(self) -> str:
        return f"State({', '.join(f'{k}={v!r}' for k, v in self._asdict().items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return State._build, (self._fields, tuple(self))

    def _missing_field(self, name: str) -> str:
        return f"this state has no field {name!r}; it has {', '.join(self._fields) or 'none'}."

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **fields: Any) -> "State":
        unknown = set(fields) - set(self._fields)
        if unknown:
            raise ValueError(self._missing_field(sorted(unknown)[0]))
        return State._build(self._fields, (fields.get(k, v) for k, v in self._asdict().items()))


_FieldGetter: Any = type(collections.namedtuple("_Example", "field").field)  # type: ignore[attr-defined]
"""The descriptor of a NamedTuple's field, which reads a position of the tuple in C."""


# Cached, because JAX takes states of different classes for different structures.
@functools.cache
def _class_of(names: tuple[str, ...]) -> type[State]:
    """Returns the class of states with these fields."""

    def new(cls: type[State], /, *values: Any, **fields: Any) -> State:
        # JAX passes all values by position; libraries that know NamedTuples pass them by name.
        if fields and not values and fields.keys() == set(names):
            values = tuple([fields[k] for k in names])
        if len(values) != len(names) or (fields and len(values) != len(fields)):
            got = f"{len(values)} values and the names {sorted(fields)}"
            raise TypeError(f"a state with the fields {', '.join(names)} got {got}.")
        return tuple.__new__(cls, values)

    # Fields are descriptors of the class, so that a state needs no `__dict__`.
    getters = {k: _FieldGetter(i, None) for i, k in enumerate(names)}
    members = {"__slots__": (), "_fields": names, "__new__": new, "__module__": __name__}
    kind: Any = _StateType("State", (State,), members | getters)
    return cast(type[State], kind)


def _reduce_class(kind: _StateType) -> str | tuple[Any, ...]:
    return kind.__qualname__ if kind is State else (_class_of, (kind._fields,))


# Pickle would look the classes up by name, and all of them are called State.
copyreg.pickle(_StateType, _reduce_class)


def is_rule_state(x: object) -> TypeGuard[State]:
    """Tells whether x has the fields that every rule of this package keeps."""
    return isinstance(x, State) and {"count", "hyperparams"} <= set(x._fields)


def nested_states(tree: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, State]]:
    """Yields all states within a tree with their paths, outer states before inner ones."""
    if isinstance(tree, State):
        yield path, tree
    below = jax.tree_util.tree_flatten_with_path(tree, is_leaf=states_below(tree))[0]
    for inner, child in below:
        if isinstance(child, State):
            yield from nested_states(child, (*path, *inner))


def states_below(node: object) -> Callable[[object], bool]:
    """Returns an `is_leaf` that stops at the states below a node."""
    return lambda x: isinstance(x, State) and x is not node
