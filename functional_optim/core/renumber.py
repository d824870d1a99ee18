"""Moving a state from one transformation to another of the same family."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from .chain import ChainInit
from .leaves import ENGINE_FIELDS
from .placement import in_place_of
from .protocol import GradientTransformation, PyTree
from .rule_init import RuleInit
from .schedule import NumberedSchedule
from .state import State

__all__ = ["Parked", "carry_over", "place_number", "renumber", "rules_of"]


def renumber(state: State, tx: GradientTransformation) -> State:
    """The state with the numbers of `tx`, which has the `update` that the state was made for.

    Each is placed as the one before it, so that a compiled step accepts the state as it is.
    """
    links = dict(state._asdict())
    for name, rule in rules_of(tx):
        links[name] = _renumber_link(links[name], rule)
    return State(**links)


def rules_of(tx: GradientTransformation) -> Iterator[tuple[str, RuleInit]]:
    """The links of a chain that are rules, with the names of their states."""
    assert isinstance(tx.init, ChainInit)
    for name, init in zip(tx.init.names, tx.init.inits, strict=True):
        if isinstance(init, RuleInit):
            yield name, init


def _renumber_link(state: State, rule: RuleInit) -> State:
    values, schedules = dict(state.hyperparams), dict(state._asdict().get("schedules", {}))
    for name, number in rule.numbers:
        if isinstance(number, NumberedSchedule):
            new = number.initial_numbers()
            schedules[name] = jax.tree.map(place_number, new, schedules[name])
        else:
            values[name] = place_number(number, values[name])
    fields = {"hyperparams": values} | ({"schedules": schedules} if schedules else {})
    return state._replace(**fields)


def place_number(value: Any, old: Any) -> Any:
    """A number as a scalar that a compiled step takes for the old one: in its dtype and place.

    Where the old one has no place of its own, that is a NumPy scalar, which costs a twentieth
    of an array of JAX; unless a guard is there to forbid that a step transfers it.
    """
    placed = isinstance(old, jax.Array) and (isinstance(old, jax.core.Tracer) or old.committed)
    if isinstance(value, jax.core.Tracer) or placed:
        return in_place_of(old, value)
    host = np.asarray(jax.device_get(value)).astype(old.dtype)[()]
    guarded = jax.config.jax_transfer_guard_host_to_device not in (None, "allow")  # type: ignore[attr-defined]
    return jax.device_put(host) if guarded else host


Parked = dict[str, dict[str, PyTree]]
"""Slots that no link keeps at present: link -> slot -> tree."""


def carry_over(old: State, fresh: State, parked: Parked) -> tuple[State, Parked]:
    """The fresh state with all that the old one knows under the same links and names.

    Numbers are the fresh one's. A link that keeps slots for the first time starts anew, and so
    do slots, and the scalars of the whole tree, of other shapes. A slot that the fresh state
    has no place for is parked, and taken up again when one has.
    """
    links, rest = {}, {}
    for name, link in fresh._asdict().items():
        known = old._asdict().get(name, State())
        slots = {k: v for k, v in known._asdict().items() if k not in ENGINE_FIELDS}
        slots = parked.get(name, {}) | slots
        rest[name] = {k: v for k, v in slots.items() if k not in link}
        if ("steps" in known) == ("steps" in link):
            clocks = {k: known[k] for k in ("count", "steps", "memory") if k in known}
            kept = {k: known[k] for k in ("scalars",) if k in known} | slots
            fitting = {k: v for k, v in kept.items() if k in link and _same_shapes(v, link[k])}
            link = link._replace(**clocks, **fitting)
        links[name] = link
    return State(**links), rest


def _same_shapes(a: PyTree, b: PyTree) -> bool:
    leaves, others = jax.tree.leaves(a), jax.tree.leaves(b)
    return [x.shape for x in leaves] == [x.shape for x in others]
