"""Gets and sets hyperparameters in a state, and reads its metrics."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .adapter import check_pair
from .numerics.validation import Interval, as_number
from .protocol import GradientTransformation, PyTree
from .rules.bounds import bounds_of
from .state import KeyPath, State, nested_states, states_below
from .trees.placement import put_like
from .trees.structure import path_string
from .types import EmptyState, Required

__all__ = ["get_hyperparams", "metrics", "scheduled_hyperparams", "set_hyperparams"]


def get_hyperparams(
    state: PyTree, *, with_paths: bool = False, default: Any = Required.ERROR
) -> dict[str, jax.Array]:
    """Returns the current hyperparameters, from any nesting of states.

    A scheduled hyperparameter has the value that the last update used; before the first update,
    the value that the first update will use.

    Args:
      state: any nesting of states.
      with_paths: whether every name has its path. Such names stay the same if links are added, so
        they can be the keys of a log.
      default: returned for a tree without a state of this package, such as parameters or a state
        of optax alone. Without a default, that is an error.

    Returns:
      Name -> array `()` (with leading dimensions where the state is vmapped). The name is the
      name of the argument. If it occurs in several links, it is written with its path:
      `scale_by_adam.b1`. The numbers of a schedule follow the hyperparameter's name:
      `learning_rate.peak_value`. Empty if no link has a hyperparameter.

    Raises:
      ValueError: the tree has no state of this package, and there is no default.

    Example:
      >>> import functional_optim as fo
      >>> state = fo.sgd(0.5, momentum=0.75).init({"w": 0.0})
      >>> {name: float(value) for name, value in fo.get_hyperparams(state).items()}
      {'momentum': 0.75, 'learning_rate': 0.5}
      >>> list(fo.get_hyperparams(state, with_paths=True))
      ['trace.momentum', 'scale_by_learning_rate.learning_rate']
    """
    return _read_fields("get_hyperparams", state, _NUMBER_FIELDS, with_paths, default)


def scheduled_hyperparams(state: PyTree) -> set[str]:
    """Returns the names of scheduled hyperparameters, as `get_hyperparams` writes them."""
    entries, scheduled = list(_entries(state)), set(_scheduled(state))
    return {
        name
        for name, (link, local, _) in zip(_names(entries), entries, strict=True)
        if (link, local) in scheduled
    }


def set_hyperparams(
    state: PyTree,
    values: Mapping[str, Any] | None = None,
    /,
    *,
    tx: GradientTransformation | None = None,
    **named: Any,
) -> PyTree:
    """Returns the state with other hyperparameters; nothing is recompiled.

    A state has no bounds for its numbers. With `tx`, values are checked against the bounds that
    its rules declare, except for traced values.

    Args:
      state: any nesting of states.
      values: name -> value, for names that are not Python identifiers
        (`{"scale_by_adam.b1": 0.8}`, `{"learning_rate.peak_value": 1e-3}`). A name may have its
        path or parts of it, `{"head.learning_rate": 0.1}`, if only one hyperparameter fits.
      **named: name = value. Values may be traced. They are cast to the dtype in the state and
        broadcast to its shape: a vmapped state takes one value for all or one for each.
      tx: the transformation whose state it is.

    Raises:
      KeyError: no hyperparameter has the name, or several have it; the message lists them.
      ValueError: the hyperparameter follows a schedule, whose numbers can be set instead; a
        value has a shape that does not fit; or a value is outside the bounds of a rule of `tx`.

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
    by_name = dict(zip(names, entries, strict=True))
    scheduled = set(_scheduled(state))
    new: dict[tuple[str, str], jax.Array] = {}
    for name, value in (dict(values or {}) | named).items():
        link, local, old = _find_entry(name, by_name)
        if (link, local) in scheduled:
            numbers = [
                full_name
                for full_name, (other_link, other, _) in by_name.items()
                if other_link == link and other.startswith(f"{local}.")
            ]
            remedy = "It has no numbers: write it with functional_optim.schedule."
            if numbers:
                remedy = f"Set its numbers instead: {', '.join(sorted(numbers))}."
            raise ValueError(
                f"set_hyperparams: {name} follows a schedule, which would overwrite the value at "
                f"the next step. {remedy}"
            )
        new[link, local] = _checked_value(name, value, old, bounds.get((link, local)))
    return _replace_entries(state, new)


def _find_entry(name: str, by_name: Mapping[str, "Entry"]) -> "Entry":
    """Returns the hyperparameter of a name, a path, or a part of a path.

    Raises:
      KeyError: no hyperparameter fits, or several do.
    """
    if name in by_name:
        return by_name[name]
    # A full path is one entry, even if it is also a part of other paths.
    exact = [entry for entry in by_name.values() if _full_name(entry) == name]
    fitting = exact or [entry for entry in by_name.values() if _is_part(name, entry)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        listed = ", ".join(by_name) or "none"
        raise KeyError(f"set_hyperparams: there is no {name!r} in this state. It has: {listed}.")
    names = [k for k, entry in by_name.items() if any(entry is other for other in fitting)]
    raise KeyError(
        f"set_hyperparams: {name!r} could be any of {', '.join(names)}. Pass one of these: "
        f"{{{names[0]!r}: ...}}."
    )


def _is_part(name: str, entry: "Entry") -> bool:
    """Tells whether a name is the hyperparameter's name after some parts of its path, in order."""
    link, local, _ = entry
    if name != local and not name.endswith(f".{local}"):
        return False
    # Each `in` continues where the last one stopped, so the parts must be in order.
    parts = iter(link.split("."))
    return all(part in parts for part in name.removesuffix(local).split(".")[:-1])


def metrics(
    state: PyTree, *, with_paths: bool = False, default: Any = Required.ERROR
) -> dict[str, jax.Array]:
    """Returns the metrics that links measured at the last update, from any nesting of states.

    Args:
      state: any nesting of states.
      with_paths: whether every name has its path, as in `get_hyperparams`.
      default: returned for a tree without a state of this package. Without a default, that is an
        error.

    Returns:
      Name -> array `()` (with leading dimensions where the state is vmapped). A name that
      occurs in several links is written with its path: `clip_by_global_norm.global_norm`. The
      docstring of a link explains its metrics. Empty if no link measures anything.

    Raises:
      ValueError: the tree has no state of this package, and there is no default.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.clip_by_global_norm(1.0), fo.sgd(0.1))
      >>> _, state = tx.update({"w": 4.0}, tx.init({"w": 0.0}))
      >>> {name: float(value) for name, value in fo.metrics(state).items()}
      {'clip_factor': 0.25, 'global_norm': 4.0}
    """
    return _read_fields("metrics", state, ("metrics",), with_paths, default)


Entry = tuple[str, str, jax.Array]
"""Path of the link; name within the link; value."""


# A scheduled hyperparameter is in both: its last value, and the numbers of its schedule.
_NUMBER_FIELDS = ("hyperparams", "schedules")


def _read_fields(
    function: str, state: PyTree, fields: tuple[str, ...], with_paths: bool, default: Any
) -> Any:
    """Returns name -> value of these fields, or the default for a tree without states."""
    if not any(map(_is_state, jax.tree.leaves(state, is_leaf=_is_state))):
        if default is Required.ERROR:
            raise ValueError(
                f"{function}: the tree that was passed, of type {type(state).__name__}, has no "
                "state of functional_optim. Pass the state of a transformation, or default=..."
            )
        return default
    entries = list(_entries(state, fields))
    names = list(map(_full_name, entries)) if with_paths else _names(entries)
    return {name: value for name, (_, _, value) in zip(names, entries, strict=True)}


def _is_state(x: object) -> bool:
    return isinstance(x, (State, EmptyState))


def _entries(state: PyTree, fields: tuple[str, ...] = _NUMBER_FIELDS) -> Iterator[Entry]:
    """Collects hyperparameters, and numbers of their schedules, from these fields of links."""
    for path, node in nested_states(state):
        link = _link_path(path)
        # A schedule's numbers may be nested, so each field is a tree.
        for field in (f for f in fields if f in node):
            for inner, value in jax.tree_util.tree_flatten_with_path(node[field])[0]:
                yield link, _number_path(inner), value


def _scheduled(state: PyTree) -> Iterator[tuple[str, str]]:
    """Returns link and name of each hyperparameter that follows a schedule."""
    for path, node in nested_states(state):
        link = _link_path(path)
        # `hyperparams_states` is the field of `inject_hyperparams`.
        for field in {"schedules", "hyperparams_states"} & {*node._fields}:
            yield from ((link, name) for name in node[field])


def _link_path(path: KeyPath) -> str:
    return path_string(path) if path else ""


def _number_path(path: KeyPath) -> str:
    """Returns a number's path within its link, without a container of nnx around it."""
    inner = [k for k in path if k != jax.tree_util.GetAttrKey("value")]
    return path_string(inner)


def _names(entries: list[Entry]) -> list[str]:
    """Returns the name within the link, with the link's path if several links have that name."""
    # Short names where they are unique, because most users have one optimizer with one `b1`.
    count = Counter(name for _, name, _ in entries)
    return [entry[1] if count[entry[1]] == 1 else _full_name(entry) for entry in entries]


def _full_name(entry: Entry) -> str:
    link, name, _ = entry
    return f"{link}.{name}" if link else name


def _bounds(
    tx: GradientTransformation | None, names: list[str], entries: list[Entry]
) -> dict[tuple[str, str], Interval]:
    """Returns the bounds that the rules declare, by path of the link and name."""
    if tx is None:
        return {}
    check_pair("set_hyperparams: tx", tx)
    keys = {name: (link, local) for name, (link, local, _) in zip(names, entries, strict=True)}
    return {keys[name]: interval for name, interval in bounds_of(tx, names).items()}


def _checked_value(name: str, value: Any, old: jax.Array, interval: Interval | None) -> jax.Array:
    """Checks a value, and casts and broadcasts it to the dtype and shape in the state."""
    what = f"set_hyperparams: {name} must be a real number, got {value!r}."
    if callable(value):
        raise TypeError(
            f"{what} A schedule is a part of the transformation, and the state has its numbers: "
            f"make one with {name.split('.')[-1]}={value!r}, and restore this state to its init "
            "by from_state_dict(template, to_state_dict(state))."
        )
    traced = isinstance(value, jax.core.Tracer)
    try:
        # On the host, by an explicit transfer, which `jax.transfer_guard` permits.
        new = value if traced else np.asarray(jax.device_get(value))
    except (TypeError, ValueError):
        raise TypeError(f"{what} Pass a number or a scalar array.") from None
    # np.asarray also accepts texts, booleans and objects.
    if not any(jnp.issubdtype(new.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise TypeError(f"{what} Pass a number or a scalar array.")
    if new.shape not in ((), old.shape):
        raise ValueError(
            f"set_hyperparams: {name} has shape {old.shape} in this state, got a value of shape "
            f"{new.shape}. To train several values at once, vmap over states: "
            f"jax.vmap(lambda v: set_hyperparams(state, {name}=v))(values)."
        )
    if not traced:
        for number in new.ravel().tolist():
            as_number(number, f"set_hyperparams: {name}", interval)
    # One value is copied to all runs of a vmapped state.
    return put_like(old, (jnp if traced else np).broadcast_to(new, old.shape))


def _replace_entries(
    node: PyTree, new: Mapping[tuple[str, str], jax.Array], path: KeyPath = ()
) -> PyTree:
    """Returns a state with new values, by link and name."""

    def replace_below(inner: KeyPath, child: PyTree) -> PyTree:
        return _replace_entries(child, new, (*path, *inner)) if isinstance(child, State) else child

    # First the states below this one, and then its own numbers.
    node = jax.tree_util.tree_map_with_path(replace_below, node, is_leaf=states_below(node))
    if not isinstance(node, State):
        return node
    link = _link_path(path)
    fields = {
        field: jax.tree_util.tree_map_with_path(
            lambda inner, old: new.get((link, _number_path(inner)), old), node[field]
        )
        for field in _NUMBER_FIELDS
        if field in node
    }
    return node._replace(**fields)
