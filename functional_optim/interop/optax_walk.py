"""Walking through a state of optax: chains, masks, labels and injected hyperparameters."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from ..serialization.placing import place

__all__ = ["counts_of", "injected", "map_states", "states_of"]

_LABELLED = ("PartitionState", "MultiTransformState")


def states_of(theirs: Any, labels: frozenset[str] = frozenset()) -> Iterator[tuple[Any, Any]]:
    """The states of single links within one of optax, with the labels that they are under."""
    fields = getattr(theirs, "_fields", None)
    if fields is None:
        for part in theirs if isinstance(theirs, (tuple, list)) else ():
            yield from states_of(part, labels)
    elif type(theirs).__name__ in _LABELLED:
        for label, inner in theirs.inner_states.items():
            yield from states_of(inner, labels | {str(label)})
    elif "inner_state" in fields:
        yield from states_of(theirs.inner_state, labels)
    elif fields:
        yield theirs, labels


def map_states(theirs: Any, write: Callable[[Any], Any], count: int, numbers: Any) -> Any:
    """The tree of optax's states with each written anew, in the order of `states_of`."""
    fields = getattr(theirs, "_fields", None)
    if fields is None:
        return type(theirs)(map_states(part, write, count, numbers) for part in theirs)
    if type(theirs).__name__ in _LABELLED:
        inner = {k: map_states(s, write, count, numbers) for k, s in theirs.inner_states.items()}
        return theirs._replace(inner_states=inner)
    if "inner_state" in fields:
        new = {"inner_state": map_states(theirs.inner_state, write, count, numbers)}
        if "hyperparams" in fields:
            known = {k: numbers[k] for k in theirs.hyperparams if k in numbers}
            new["hyperparams"] = theirs.hyperparams | known
            new["count"] = place(count, theirs.count)
        return theirs._replace(**new)
    return write(theirs) if fields else theirs


def counts_of(theirs: Any) -> list[Any]:
    """All that counts updates."""
    flat = jax.tree_util.tree_flatten_with_path(theirs)[0]
    return [x for path, x in flat if path[-1:] == (jax.tree_util.GetAttrKey("count"),)]


def injected(theirs: Any) -> dict[str, Any]:
    """What `inject_hyperparams` holds."""
    if "hyperparams" in getattr(theirs, "_fields", ()):
        return dict(theirs.hyperparams) | injected(theirs.inner_state)
    if type(theirs) in (tuple, list):
        return {k: v for part in theirs for k, v in injected(part).items()}
    return {}
