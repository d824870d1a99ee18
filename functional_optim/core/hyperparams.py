"""Gets and sets hyperparameters in a state, and reads its metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .adapter import check_pair
from .numerics.validation import Interval, as_number
from .protocol import GradientTransformation, PyTree
from .rules.bounds import bounds_of
from .state import State, nested_states, states_below
from .trees.placement import in_place_of
from .trees.structure import path_string

__all__ = ["get_hyperparams", "metrics", "set_hyperparams"]


def get_hyperparams(state: PyTree) -> dict[str, jax.Array]:
    """Finds the hyperparameters in force, in any nesting of states.

    A scheduled one has the value that the last update used; before the first update, the
    value that the first will use.

    Returns:
      Name -> array `()` (with leading dimensions where the state is vmapped). A name that
      occurs in several links is written with its path: `scale_by_adam.b1`. The numbers of a
      schedule stand under the hyperparameter's name: `learning_rate.peak_value`.

    Example:
      >>> import functional_optim as fo
      >>> state = fo.sgd(0.5, momentum=0.75).init({"w": 0.0})
      >>> {name: float(value) for name, value in fo.get_hyperparams(state).items()}
      {'decay': 0.75, 'learning_rate': 0.5}
    """
    entries = list(_entries(state))
    return {name: value for name, (_, _, value) in zip(_names(entries), entries, strict=True)}


def set_hyperparams(
    state: PyTree,
    values: Mapping[str, Any] | None = None,
    /,
    *,
    tx: GradientTransformation | None = None,
    **named: Any,
) -> PyTree:
    """Returns the state with other hyperparameters; nothing is recompiled.

    A state holds numbers and not the rules that they are of. Where `tx` is given, values must
    lie where its rules want them, as where it was made; traced ones are not looked at.

    Args:
      state: any nesting of states.
      values: name -> value, names as `get_hyperparams` writes them, for those that are no
        Python identifiers (`{"scale_by_adam.b1": 0.8}`, `{"learning_rate.peak_value": 1e-3}`).
      **named: name = value. Values may be traced. They take the dtype that the state has,
        and its shape: a vmapped state takes one value for all or one for each.
      tx: the transformation whose state it is.

    Raises:
      KeyError: no such hyperparameter; the message lists those that exist.
      ValueError: the hyperparameter follows a schedule, whose numbers can be set instead; a
        value has a shape that does not fit; or a rule of `tx` does not take it.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.sgd(0.5)
      >>> state = fo.set_hyperparams(tx.init({"w": 0.0}), learning_rate=0.25, tx=tx)
      >>> float(fo.get_hyperparams(state)["learning_rate"])
      0.25
    """
    entries = list(_entries(state))
    names = _names(entries)
    bounds = _bounds(tx, names, entries)
    known = dict(zip(names, entries, strict=True))
    known |= {f"{link}.{local}": (link, local, v) for link, local, v in entries}
    scheduled = set(_scheduled(state))
    new: dict[tuple[str, str], jax.Array] = {}
    for name, value in (dict(values or {}) | named).items():
        if name not in known:
            listed = ", ".join(names) or "none"
            raise KeyError(
                f"set_hyperparams: there is no {name!r} in this state. It has: {listed}."
            )
        link, local, old = known[name]
        if (link, local) in scheduled:
            numbers = [n for n, e in known.items() if e[0] == link and e[1].startswith(f"{local}.")]
            what = f"Set its numbers instead: {', '.join(sorted(set(numbers)))}."
            raise ValueError(
                f"set_hyperparams: {name} follows a schedule, which would overwrite the value at "
                f"the next step. "
                + (
                    what
                    if numbers
                    else "It has no numbers: write it with functional_optim.schedule."
                )
            )
        new[link, local] = _fit(name, value, old, bounds.get((link, local)))
    return _with_entries(state, new)


def metrics(state: PyTree) -> dict[str, jax.Array]:
    """Finds what the links measured at the last update, in any nesting of states.

    Returns:
      Name -> array `()` (with leading dimensions where the state is vmapped). A name that
      occurs in several links is written with its path: `clip_by_global_norm.global_norm`. What
      each means stands in the docstring of its link.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.clip_by_global_norm(1.0), fo.sgd(0.1))
      >>> _, state = tx.update({"w": 4.0}, tx.init({"w": 0.0}))
      >>> {name: float(value) for name, value in fo.metrics(state).items()}
      {'clip_factor': 0.25, 'global_norm': 4.0}
    """
    entries = list(_entries(state, ("metrics",)))
    return {name: value for name, (_, _, value) in zip(_names(entries), entries, strict=True)}


Entry = tuple[str, str, Any]
"""Path of the link; name within the link; value."""


_NUMBERS = ("hyperparams", "schedules")


def _entries(state: PyTree, fields: tuple[str, ...] = _NUMBERS) -> Iterator[Entry]:
    """What stands in these fields of links: hyperparameters, and numbers of their schedules."""
    for path, node in nested_states(state):
        link = _link_path(path)
        for field in (f for f in fields if f in node):
            for inner, value in jax.tree_util.tree_flatten_with_path(node[field])[0]:
                yield link, _number_path(inner), value


def _scheduled(state: PyTree) -> Iterator[tuple[str, str]]:
    """Link and name of each hyperparameter that follows a schedule."""
    for path, node in nested_states(state):
        link = _link_path(path)
        for field in {"schedules", "hyperparams_states"} & {*node._fields}:
            yield from ((link, name) for name in node[field])


def _link_path(path: Any) -> str:
    return path_string(path) if path else ""


def _number_path(path: Any) -> str:
    """Path of a number within its link; what holds it in `nnx` is no part of its name."""
    inner = [k for k in path if k != jax.tree_util.GetAttrKey("value")]
    return path_string(inner)


def _names(entries: list[Entry]) -> list[str]:
    """The name within the link, or with the link's path where several links have that name."""
    local = [name for _, name, _ in entries]
    return [n if local.count(n) == 1 or not link else f"{link}.{n}" for link, n, _ in entries]


def _bounds(
    tx: GradientTransformation | None, names: list[str], entries: list[Entry]
) -> dict[tuple[str, str], Interval]:
    """Where the numbers of a link must lie, as far as the rules of a transformation say so."""
    if tx is None:
        return {}
    check_pair("set_hyperparams: tx", tx)
    found = bounds_of(tx, names)
    places = {name: (link, local) for name, (link, local, _) in zip(names, entries, strict=True)}
    return {places[name]: interval for name, interval in found.items()}


def _fit(name: str, value: Any, old: jax.Array, interval: Interval | None) -> jax.Array:
    """The value with the dtype and shape that the state has."""
    traced = isinstance(value, jax.core.Tracer)
    # On the host, because a guard against implicit transfers lets only explicit ones pass.
    new = value if traced else np.asarray(jax.device_get(value))
    if not any(jnp.issubdtype(new.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise TypeError(f"set_hyperparams: {name} must be a real number, got {value!r}.")
    if new.shape not in ((), old.shape):
        raise ValueError(
            f"set_hyperparams: {name} has shape {old.shape} in this state, got a value of shape "
            f"{new.shape}. To train several values at once, vmap over states: "
            f"jax.vmap(lambda v: set_hyperparams(state, {name}=v))(values)."
        )
    if interval is not None and not traced:
        for number in new.ravel().tolist():
            as_number(number, f"set_hyperparams: {name}", interval)
    return in_place_of(old, (jnp if traced else np).broadcast_to(new, old.shape))


def _with_entries(
    node: PyTree, new: Mapping[tuple[str, str], jax.Array], path: tuple[Any, ...] = ()
) -> PyTree:
    """A state with other values under the given links and names."""

    def below(inner: Any, child: Any) -> Any:
        return _with_entries(child, new, (*path, *inner)) if isinstance(child, State) else child

    node = jax.tree_util.tree_map_with_path(below, node, is_leaf=states_below(node))
    if not isinstance(node, State):
        return node
    link = _link_path(path)
    fields = {
        field: jax.tree_util.tree_map_with_path(
            lambda inner, old: new.get((link, _number_path(inner)), old), node[field]
        )
        for field in _NUMBERS
        if field in node
    }
    return node._replace(**fields)
