"""Walks through a state of optax: chains, masks, labels and wrappers."""

from collections.abc import Callable, Iterator

from ..core.types import OptState
from .optax_wrappers import WRAPPERS

__all__ = ["map_states", "states_of"]

_LABELLED = ("PartitionState", "MultiTransformState")
_REPLACED = (
    "MonitorState",
    "SnapshotState",
    "DifferentiallyPrivateAggregateState",
    "HutchinsonState",
)
"""States of the last measurement, which the next update replaces, and of a random key alone."""

_BEFORE = {"SophiaState": "hessian_fn_state"}
"""States of optax with an inner state, which are links before those of the inner one here."""

_AFTER = {
    "LookaheadState": "fast_state",
    "MechanicState": "base_optimizer_state",
    "ScheduleFreeState": "base_optimizer_state",
}
"""States of optax with an inner state, which are links after those of the inner one here."""


def states_of(
    theirs: OptState, labels: frozenset[str] = frozenset()
) -> Iterator[tuple[OptState, frozenset[str]]]:
    """Yields the states of wrappers and links within a state of optax, with their labels.

    Empty states are left out. A wrapper comes before its inner states, except those that are links
    in this package, and come after them.
    """
    name, fields = type(theirs).__name__, getattr(theirs, "_fields", None)
    if isinstance(theirs, dict):
        for label, part in theirs.items():
            yield from states_of(part, labels | {str(label)})
    elif fields is None:
        for part in theirs if isinstance(theirs, (tuple, list)) else ():
            yield from states_of(part, labels)
    elif name in _REPLACED:
        return
    elif name in _LABELLED:
        yield from states_of(theirs.inner_states, labels)
    elif name in WRAPPERS:
        yield theirs, labels
        yield from states_of(getattr(theirs, WRAPPERS[name].inner), labels)
    elif name in _BEFORE:
        yield theirs, labels
        yield from states_of(getattr(theirs, _BEFORE[name]), labels)
    elif name in _AFTER:
        yield from states_of(getattr(theirs, _AFTER[name]), labels)
        yield theirs, labels
    elif "inner_state" in fields:
        yield from states_of(theirs.inner_state, labels)
    elif fields:
        yield theirs, labels


def map_states(theirs: OptState, write: Callable[[OptState], OptState]) -> OptState:
    """Replaces each of optax's states, in the order of `states_of`."""
    name, fields = type(theirs).__name__, getattr(theirs, "_fields", None)
    if isinstance(theirs, dict):
        return type(theirs)((label, map_states(part, write)) for label, part in theirs.items())
    if fields is None:
        return type(theirs)(map_states(part, write) for part in theirs)
    if name in _REPLACED:
        return theirs
    if name in _LABELLED:
        return theirs._replace(inner_states=map_states(theirs.inner_states, write))
    if name in WRAPPERS:
        new, inner = write(theirs), WRAPPERS[name].inner
        return new._replace(**{inner: map_states(getattr(theirs, inner), write)})
    if name in _BEFORE:
        new = write(theirs)
        return new._replace(**{_BEFORE[name]: map_states(getattr(theirs, _BEFORE[name]), write)})
    if name in _AFTER:
        inner = map_states(getattr(theirs, _AFTER[name]), write)
        return write(theirs)._replace(**{_AFTER[name]: inner})
    if "inner_state" in fields:
        return theirs._replace(inner_state=map_states(theirs.inner_state, write))
    return write(theirs) if fields else theirs
