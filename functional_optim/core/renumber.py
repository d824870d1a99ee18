"""Moving a state from one transformation to another of the same family."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from .chain import ChainInit
from .leaves import ENGINE_FIELDS
from .protocol import GradientTransformation, PyTree
from .rule_init import RuleInit
from .schedule import NumberedSchedule
from .state import State

__all__ = ["Parked", "carry_over", "renumber"]


def renumber(state: State, old: GradientTransformation, new: GradientTransformation) -> State:
    """The state of `old` with the numbers of `new`, which has the same `update`.

    Only what differs is replaced, each by an array placed as the one before it, so that a
    compiled step accepts the state as it is.
    """
    links = dict(state._asdict())
    for name, before, after in _rules(old, new):
        if before.numbers != after.numbers:
            links[name] = _renumber_link(links[name], before, after)
    return State(**links)


def _rules(
    old: GradientTransformation, new: GradientTransformation
) -> Iterator[tuple[str, RuleInit, RuleInit]]:
    assert isinstance(old.init, ChainInit)
    assert isinstance(new.init, ChainInit)
    for name, before, after in zip(old.init.names, old.init.inits, new.init.inits, strict=True):
        if isinstance(before, RuleInit) and isinstance(after, RuleInit):
            yield name, before, after


def _renumber_link(state: State, before: RuleInit, after: RuleInit) -> State:
    values, schedules = dict(state.hyperparams), dict(state._asdict().get("schedules", {}))
    for (name, was), (_, now) in zip(before.numbers, after.numbers, strict=True):
        if was is now or (not _traced(was, now) and was == now):
            continue
        if isinstance(now, NumberedSchedule):
            schedules[name] = jax.tree.map(_place, now.initial_numbers(), schedules[name])
        else:
            values[name] = _place(now, values[name])
    fields = {"hyperparams": values} | ({"schedules": schedules} if schedules else {})
    return state._replace(**fields)


def _traced(*values: Any) -> bool:
    return any(isinstance(v, jax.core.Tracer) for v in values)


def _place(value: Any, old: jax.Array) -> jax.Array:
    """The value as an array like the old one: its dtype, and its place."""
    new = jnp.asarray(value).astype(old.dtype)
    if _traced(new, old) or not old.committed:
        return new
    return jax.device_put(new, old.sharding)


Parked = dict[str, dict[str, PyTree]]
"""Slots that no link keeps at present: link -> slot -> tree."""


def carry_over(old: State, fresh: State, parked: Parked) -> tuple[State, Parked]:
    """The fresh state with all that the old one knows under the same links and names.

    Numbers are the fresh one's. A link that keeps slots for the first time starts anew. A
    slot that the fresh state has no place for is parked, and taken up again when one has.
    """
    links, rest = {}, {}
    for name, link in fresh._asdict().items():
        known = old._asdict().get(name, State())
        slots = {k: v for k, v in known._asdict().items() if k not in ENGINE_FIELDS}
        slots = parked.get(name, {}) | slots
        rest[name] = {k: v for k, v in slots.items() if k not in link}
        if ("steps" in known) == ("steps" in link):
            clocks = {k: known[k] for k in ("count", "steps", "memory") if k in known}
            link = link._replace(**clocks, **{k: v for k, v in slots.items() if k in link})
        links[name] = link
    return State(**links), rest
