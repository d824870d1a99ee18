"""Walks through a state of optax: chains, masks, labels and wrappers."""

from collections.abc import Callable, Iterator

from ..core.types import OptState
from .optax_wrappers import WRAPPERS

__all__ = ["map_states", "states_of"]

_LABELLED = ("PartitionState", "MultiTransformState")
_SKIPPED = (
    "MonitorState",
    "SnapshotState",
    "DifferentiallyPrivateAggregateState",
    "HutchinsonState",
)
"""States that are not converted. The next update replaces their measurements; one has only a random
key."""

_WRAPPER_FIRST = {"SophiaState": "hessian_fn_state"}
"""State of an optax wrapper -> field of its inner state. Here, the wrapper is a link of a chain, in
front of the inner links."""

_INNER_FIRST = {
    "LookaheadState": "fast_state",
    "MechanicState": "base_optimizer_state",
    "ScheduleFreeState": "base_optimizer_state",
}
"""State of an optax wrapper -> field of its inner state. Here, the wrapper is a link of a chain,
after the inner links."""


def states_of(
    theirs: OptState, labels: frozenset[str] = frozenset()
) -> Iterator[tuple[OptState, frozenset[str]]]:
    """Yields the states of wrappers and links within a state of optax, with their labels.

    Empty states are left out. A wrapper comes before its inner states, except the wrappers of
    `_INNER_FIRST`, which come after them.
    """
    name, fields = type(theirs).__name__, getattr(theirs, "_fields", None)
    if isinstance(theirs, dict):
        for label, part in theirs.items():
            yield from states_of(part, labels | {str(label)})
    elif fields is None:
        for part in theirs if isinstance(theirs, (tuple, list)) else ():
            yield from states_of(part, labels)
    elif name in _SKIPPED:
        return
    elif name in _LABELLED:
        yield from states_of(theirs.inner_states, labels)
    elif name in WRAPPERS:
        yield theirs, labels
        yield from states_of(getattr(theirs, WRAPPERS[name].inner), labels)
    elif name in _WRAPPER_FIRST:
        yield theirs, labels
        yield from states_of(getattr(theirs, _WRAPPER_FIRST[name]), labels)
    elif name in _INNER_FIRST:
        yield from states_of(getattr(theirs, _INNER_FIRST[name]), labels)
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
    if name in _SKIPPED:
        return theirs
    if name in _LABELLED:
        return theirs._replace(inner_states=map_states(theirs.inner_states, write))
    if name in WRAPPERS:
        new, inner = write(theirs), WRAPPERS[name].inner
        return new._replace(**{inner: map_states(getattr(theirs, inner), write)})
    if name in _WRAPPER_FIRST:
        new, inner = write(theirs), _WRAPPER_FIRST[name]
        return new._replace(**{inner: map_states(getattr(theirs, inner), write)})
    if name in _INNER_FIRST:
        inner = map_states(getattr(theirs, _INNER_FIRST[name]), write)
        return write(theirs)._replace(**{_INNER_FIRST[name]: inner})
    if "inner_state" in fields:
        return theirs._replace(inner_state=map_states(theirs.inner_state, write))
    return write(theirs) if fields else theirs
