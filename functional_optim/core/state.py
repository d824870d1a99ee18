"""The container of every state: a tuple whose fields have names."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

__all__ = ["State", "nested_states", "states_below"]


class State(tuple[Any, ...]):
    """Holds values under names, in order; a pytree node, immutable.

    Reads like a NamedTuple (`state.mu`, `state[0]`, iteration, `_fields`, `_asdict`,
    `_replace`) and also by name (`state["scale_by_adam"]`). Its field names are the keys of
    its pytree paths, so that the path of a moment reads `.scale_by_adam.mu['dense']`
    whatever stands before it in a chain. A NamedTuple class would need one type for each
    chain; this is one type for all, which pickles and restores without its maker.

    What is no field is looked for in the field `metrics`: `state.last_finite` is
    `state.metrics["last_finite"]`. It is read there, and nowhere else: in no path, and not by
    `state["last_finite"]`.

    Example:
      >>> s = State(count=3, mu={"w": 1.0})
      >>> s.mu, s["count"], s[1]
      ({'w': 1.0}, 3, {'w': 1.0})
      >>> s._replace(count=4)
      State(count=4, mu={'w': 1.0})
    """

    _fields: tuple[str, ...]

    def __new__(cls, /, **fields: Any) -> "State":
        """Makes a state of the given fields."""
        return cls._build(tuple(fields), fields.values())

    @classmethod
    def _build(cls, names: tuple[str, ...], values: Any) -> "State":
        self = super().__new__(cls, values)
        self.__dict__["_fields"] = names
        return self

    def __getattr__(self, name: str) -> Any:
        if name in self._fields:
            return tuple.__getitem__(self, self._fields.index(name))
        measured = self["metrics"] if "metrics" in self._fields else {}
        if isinstance(measured, dict) and name in measured:
            return measured[name]
        raise AttributeError(self._lacks(name))

    # `count` and `index` are methods of tuple, and would hide the fields of those names.
    count = property(lambda self: self.__getattr__("count"))
    index = property(lambda self: self.__getattr__("index"))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a state is immutable; use state._replace({name}=...).")

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._fields:
                raise KeyError(self._lacks(key))
            return tuple.__getitem__(self, self._fields.index(key))
        return tuple.__getitem__(self, key)

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __repr__(self) -> str:
        return f"State({', '.join(f'{k}={v!r}' for k, v in self._items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return State._build, (self._fields, tuple(self))

    def _lacks(self, name: str) -> str:
        return f"this state has no field {name!r}; it has {', '.join(self._fields) or 'none'}."

    def _items(self) -> Iterator[tuple[str, Any]]:
        return zip(self._fields, self, strict=True)

    def _asdict(self) -> dict[str, Any]:
        return dict(self._items())

    def _replace(self, **fields: Any) -> "State":
        unknown = set(fields) - set(self._fields)
        if unknown:
            raise ValueError(self._lacks(sorted(unknown)[0]))
        return State._build(self._fields, (fields.get(k, v) for k, v in self._items()))


jax.tree_util.register_pytree_with_keys(
    State,
    lambda s: (tuple((jax.tree_util.GetAttrKey(k), v) for k, v in s._items()), s._fields),
    State._build,
    lambda s: (tuple(s), s._fields),
)


def nested_states(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], State]]:
    """All states within a tree with their paths, each before those within it."""
    if isinstance(tree, State):
        yield path, tree
    below = jax.tree_util.tree_flatten_with_path(tree, is_leaf=states_below(tree))[0]
    for inner, child in below:
        if isinstance(child, State):
            yield from nested_states(child, (*path, *inner))


def states_below(node: Any) -> Callable[[Any], bool]:
    """Where to stop on the way down: at the states below a node."""
    return lambda x: isinstance(x, State) and x is not node
