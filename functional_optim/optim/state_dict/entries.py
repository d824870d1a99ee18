"""The places of state_dict entries in a state, and functions for all kinds of state_dict."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ...core.protocol import NoSlot, PyTree
from ...core.state import State
from ...serialization import placing
from ...serialization.reading import restore
from ...serialization.versions import COUNT, VERSION_KEY
from ..conversions import as_numpy
from .checks import check_groups

__all__ = [
    "COUNT",
    "ParamState",
    "StateEntry",
    "carried_scalars",
    "counts_of_parameters",
    "is_no_slot",
    "load_named_state",
    "place",
    "read_state_dict",
]

ParamState = dict[str, PyTree]
"""torch's state of one parameter: name of an entry -> array."""


@dataclasses.dataclass(frozen=True)
class StateEntry:
    """The place of an entry of torch's state in the state of a transformation.

    Attributes:
      link: name of the link.
      slot: name of a slot of the link, or of a scalar that it keeps from step to step; or
        `leaf_counts`, the number of updates of each parameter.
      at_start: whether torch has the entry before a parameter's first step.
      is_int: whether torch keeps a number as a Python int.
    """

    link: str
    slot: str
    at_start: bool = False
    is_int: bool = False

    def read(self, state: State, n: int) -> list[PyTree] | None:
        """Returns the value of each of n parameters, or None if the state has no such slot.

        A parameter that does not have the slot has a `NoSlot` in its place.
        """
        link = state._asdict().get(self.link, State())
        if self.slot == "leaf_counts":
            if "count" not in link:
                return None
            return list(counts_of_parameters(link, n).astype(np.float32))
        if self.slot in link:
            return jax.tree.leaves(link[self.slot], is_leaf=is_no_slot)
        scalars = carried_scalars(link, n)
        return list(scalars[self.slot]) if self.slot in scalars else None

    def is_scalar(self, state: State) -> bool:
        """Tells whether the entry is one number for each parameter."""
        link = state._asdict().get(self.link, State())
        return self.slot == "leaf_counts" or self.slot in _numbers(link)


def is_no_slot(x: object) -> bool:
    """Tells whether x is in the place of a slot that a parameter does not have."""
    return isinstance(x, NoSlot)


def counts_of_parameters(link: State, n: int) -> np.ndarray:
    """Returns how many updates each of n parameters has had, `(n,)`."""
    return np.broadcast_to(np.asarray(link._asdict().get("leaf_counts", link.count)), (n,))


def carried_scalars(link: State, n: int) -> dict[str, np.ndarray]:
    """Returns the scalars that a link keeps from step to step, each `(n,)`.

    A scalar that all parameters share is repeated for each of them.
    """
    return {k: np.broadcast_to(np.asarray(v), (n,)) for k, v in _numbers(link).items()}


def _numbers(link: State) -> dict[str, jax.Array]:
    fields = link._asdict()
    return {**fields.get("carry", {}), **fields.get("scalars", {})}


def read_state_dict(
    owner: str, state_dict: object
) -> tuple[Mapping[Any, PyTree], list[Mapping[str, PyTree]]]:
    """Returns the state and the groups of a state_dict.

    Raises:
      TypeError: state_dict is not a mapping with these two entries.
    """
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
        got = (
            f"the keys {list(state_dict)}"
            if isinstance(state_dict, Mapping)
            else type(state_dict).__name__
        )
        raise TypeError(
            f"{owner}: state_dict must be a dict with 'state' and 'param_groups', got {got}. "
            "Pass the result of an optimizer's state_dict()."
        )
    if not isinstance(state_dict["state"], Mapping):
        raise TypeError(
            f"{owner}: 'state' must be a dict, got {type(state_dict['state']).__name__}. Pass the "
            "result of an optimizer's state_dict()."
        )
    return state_dict["state"], check_groups(owner, state_dict["param_groups"], COUNT)


def load_named_state(owner: str, state: PyTree, saved: Mapping[str, PyTree]) -> PyTree:
    """Returns the state with the saved arrays, each with the sharding of the one it replaces.

    Raises:
      ValueError: a path is missing or unexpected, or a shape differs; the message lists all.
    """
    if isinstance(saved, Mapping):
        if VERSION_KEY not in saved:
            raise ValueError(
                f"{owner}: an Optimizer over a transformation did not save this state. Pass "
                "the result of its state_dict(); a state in torch's format is for torch's classes."
            )
        saved = {k: as_numpy(x) for k, x in saved.items()}
    return restore(owner, state, saved)[0]


def place(value: PyTree, like: jax.Array) -> jax.Array:
    """Returns the value as a new array with the dtype, and if committed the sharding, of `like`."""
    return placing.place(as_numpy(value), like)
