"""Converts injected hyperparameters, which this package has in the states of its links."""

import jax

from ..core.hyperparams import get_hyperparams, scheduled_hyperparams, set_hyperparams
from ..core.protocol import PyTree
from ..core.trees.structure import path_string
from ..core.types import OptState
from ..serialization.placing import place
from .optax_pairs import Pair, Path, links_of
from .optax_table import OTHER_NAMES

__all__ = ["read_injected", "write_injected"]


def read_injected(function: str, state: PyTree, pairs: list[Pair]) -> PyTree:
    """Returns the state with optax's injected hyperparameters, except those with a schedule."""
    values, scheduled = {}, _scheduled(state)
    for pair in pairs:
        for name in getattr(pair.theirs, "hyperparams", ()):
            places = _places(state, pair, name)
            # With inject_hyperparams in both libraries, the hyperparameter is in that state, and
            # the link may have it under another name.
            if pair.path is None:
                _check(function, name, places)
            elif len(places) != 1:
                continue
            if places[0] not in scheduled:
                values[places[0]] = pair.theirs.hyperparams[name]
    return set_hyperparams(state, values)


def write_injected(function: str, state: PyTree, pair: Pair) -> OptState:
    """Returns optax's state with the hyperparameters of the last step."""
    new, hyperparams = dict(pair.theirs.hyperparams), _hyperparams(state)
    for name, old in pair.theirs.hyperparams.items():
        places = _places(state, pair, name)
        _check(function, name, places)
        new[name] = place(hyperparams[places[0]], old)
    return pair.theirs._replace(hyperparams=new)


def _hyperparams(state: PyTree) -> dict[str, jax.Array]:
    """Returns all hyperparameters, and the numbers of schedules, by the paths of their links."""
    return {
        _full_name(path, name): value
        for path, link in links_of(state)
        for name, value in get_hyperparams(link).items()
    }


def _scheduled(state: PyTree) -> set[str]:
    """Returns the names of scheduled hyperparameters, with the paths of their links."""
    return {
        _full_name(path, name)
        for path, link in links_of(state)
        for name in scheduled_hyperparams(link)
    }


def _full_name(path: Path, name: str) -> str:
    return f"{path_string(path)}.{name}" if path else name


def _places(state: PyTree, pair: Pair, name: str) -> list[str]:
    """Returns the names of an injected hyperparameter in links under the same labels or wrapper."""
    prefix = pair.path or ()
    links = [
        (path, link)
        for path, link in links_of(state)
        if path[: len(prefix)] == prefix and pair.labels <= {path_string((part,)) for part in path}
    ]
    places = [_full_name(path, name) for path, link in links if name in link.hyperparams]
    if not places and name in OTHER_NAMES:
        owner, hyperparam = OTHER_NAMES[name]
        places = [_full_name(p, hyperparam) for p, _ in links if path_string(p[-1:]) == owner]
    return places


def _check(function: str, name: str, places: list[str]) -> None:
    if len(places) != 1:
        raise ValueError(
            f"{function}: optax injects {name!r}, and here {', '.join(places) or 'no link'} has "
            "that number. Make both states with inject_hyperparams, or none of them."
        )
