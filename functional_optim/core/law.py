"""What init made is law: the next state is built as the last one, or it is refused."""

from collections.abc import Mapping
from typing import Any

import jax

from .state import State

__all__ = ["next_state", "wrong_state"]


def wrong_state(link: str, got: str) -> str:
    """The message for a state that another transformation made."""
    return (
        f"{link}: state must be what init of the same transformation made, {got}. Restore a "
        "checkpoint with jax.eval_shape(tx.init, params) as its target."
    )


def next_state(old: State, new: Mapping[str, Any]) -> State:
    """The state with new values, each in the dtype that it had: what init made is law."""
    fields = {k: new.get(k, v) for k, v in old._asdict().items()}
    return jax.tree.map(
        lambda a, b: a if a.dtype == b.dtype else a.astype(b.dtype), State(**fields), old
    )
