"""Stage 4: the next state, with the structure and dtypes of the last one."""

from collections.abc import Mapping

import jax

from ..numerics.casting import cast_like
from ..protocol import PyTree
from ..state import State
from ..trees.varying import varying_like

__all__ = ["next_state", "wrong_state"]


def wrong_state(name: str, got: str) -> str:
    """Returns the message for a state that another transformation made."""
    return (
        f"{name}: state must be what init of the same transformation made, {got}. Restore a "
        "checkpoint with jax.eval_shape(tx.init, params) as its target."
    )


def next_state(old: State, new: Mapping[str, PyTree]) -> State:
    """Builds the state with new values, each in the dtype of the old one.

    The structure is the same, with one exception: the first update without the gradient of a leaf
    adds `leaf_counts` behind `count`.
    """
    fields: dict[str, PyTree] = {}
    for name, value in old._asdict().items():
        fields[name] = varying_like(jax.tree.map(cast_like, new.get(name, value), value), value)
        if name == "count" and "leaf_counts" in new and "leaf_counts" not in old:
            fields["leaf_counts"] = new["leaf_counts"]
    return State(**fields)
