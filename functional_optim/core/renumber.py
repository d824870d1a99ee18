"""Moving a state from one transformation to another of the same family."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from .chain import ChainInit
from .leaves import ENGINE_FIELDS
from .protocol import GradientTransformation
from .rule_init import RuleInit
from .schedule import NumberedSchedule
from .state import State

__all__ = ["carry_over", "renumber"]


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


def carry_over(old: State, fresh: State) -> State:
    """The fresh state with all that the old one knows under the same links and names.

    Numbers are the fresh one's. A link that keeps slots for the first time starts anew.
    """
    links = {}
    for name, link in fresh._asdict().items():
        known = old._asdict().get(name, State())
        same_clock = isinstance(known, State) and ("steps" in known) == ("steps" in link)
        links[name] = _carry_link(known, link) if same_clock else link
    return State(**links)


def _carry_link(known: State, link: State) -> State:
    kept = {
        k: v
        for k, v in known._asdict().items()
        if k in link and (k not in ENGINE_FIELDS or k in ("count", "steps", "memory"))
    }
    return link._replace(**kept)
