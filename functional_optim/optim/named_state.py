"""What of a `state_dict` is the same for all optimizers."""

from collections.abc import Mapping
from typing import Any

import jax

from ..core.protocol import PyTree
from ..serialization import placing
from ..serialization.reading import restore
from ..serialization.versions import VERSION_KEY
from .plain import as_numpy

__all__ = ["COUNT", "load_named_state", "place", "read_state_dict"]

COUNT = "_count"
"""Key of the number of steps in a saved group; it is none of the user's."""


def read_state_dict(who: str, given: Any) -> tuple[Mapping[Any, Any], list[Mapping[str, Any]]]:
    """The state and the groups of a state_dict.

    Raises:
      TypeError: it is none.
    """
    if not isinstance(given, Mapping) or not {"state", "param_groups"} <= given.keys():
        raise TypeError(
            f"{who}: state_dict must be a dict with 'state' and 'param_groups', got "
            f"{f'the keys {list(given)}' if isinstance(given, Mapping) else type(given).__name__}. "
            "Pass what state_dict() of an optimizer gave."
        )
    return given["state"], list(given["param_groups"])


def load_named_state(who: str, state: PyTree, saved: Mapping[str, Any]) -> PyTree:
    """The state with the arrays that were saved, each placed as the one it replaces.

    Raises:
      ValueError: a path is missing or unexpected, or a shape differs; the message lists all.
    """
    if isinstance(saved, Mapping):
        if VERSION_KEY not in saved:
            raise ValueError(
                f"{who}: the saved state is not that of an Optimizer over a transformation. Pass "
                "what state_dict() of one gave; a state in torch's format is for torch's classes."
            )
        saved = {k: as_numpy(x) for k, x in saved.items()}
    return restore(who, state, saved)[0]


def place(value: Any, like: Any) -> jax.Array:
    """The value as a new array with the dtype, and where committed the sharding, of another."""
    return placing.place(as_numpy(value), like)
