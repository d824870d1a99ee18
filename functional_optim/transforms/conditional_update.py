"""Inner transformations that act at some steps only."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.state import State, nested_states, states_below
from ..core.trees.apply import no_updates
from ..core.trees.structure import path_string
from ..core.trees.varying import cond

__all__ = ["act_or_rest", "at_rest", "check_leaf_counts", "with_metrics_of"]

Array = jax.Array


def act_or_rest(
    link: str,
    holds: Array,
    act: Callable[[], tuple[PyTree, Any]],
    state: Any,
    instead: PyTree | None = None,
) -> tuple[PyTree, Any]:
    """Runs `act()`, which returns updates and state, where a condition `()` holds.

    Elsewhere nothing is computed: the updates are `instead`, and the state stays as it is, but
    for its metrics, which are 0 where nothing is measured.

    Args:
      link: name of the wrapper, for errors.
      state: the state where the condition does not hold.
      instead: the updates there, given in the dtypes of those of `act`; None for zero updates.

    Raises:
      ValueError: `act` counts the updates of each leaf, and `state` does not.
    """
    like, new_state = jax.eval_shape(act)
    check_leaf_counts(link, state, new_state)

    def rest() -> tuple[PyTree, Any]:
        if instead is None:
            given = no_updates(jax.tree.map(_zeros, like))
        else:
            given = jax.tree.map(lambda x, y: jnp.asarray(x).astype(y.dtype), instead, like)
        return given, at_rest(jax.tree.map(jnp.asarray, state))

    return cond(holds, act, rest)


def _zeros(x: jax.ShapeDtypeStruct) -> Array:
    return jnp.zeros(x.shape, x.dtype, out_sharding=x.sharding)  # None but on an explicit mesh


def at_rest(state: PyTree) -> PyTree:
    """Returns a state at a step at which its transformation does not run: its metrics are 0."""
    return _measured(state, state, lambda metrics: jax.tree.map(jnp.zeros_like, metrics))


def with_metrics_of(state: PyTree, other: PyTree) -> PyTree:
    """Returns a state with the metrics of another one.

    The counts that wrappers keep as metrics stay, because they go on from step to step.
    """
    return _measured(state, other, lambda metrics: metrics)


def _measured(state: PyTree, other: PyTree, take: Callable[[Any], Any]) -> PyTree:
    def below(child: Any, of_other: Any) -> Any:
        return _measured(child, of_other, take) if isinstance(child, State) else child

    if isinstance(state, State) and "metrics" in state and not _counts(state):
        state = state._replace(metrics=take(other.metrics))
    return jax.tree.map(below, state, other, is_leaf=states_below(state))


def _counts(state: State) -> bool:
    """Tells whether the metrics of a state are counts of a wrapper, and not measurements."""
    return not ({"count", "hyperparams"} <= {*state._fields} or "measure_states" in state)


def check_leaf_counts(link: str, old: PyTree, new: PyTree) -> None:
    """Checks that an inner state has not gained `leaf_counts`.

    Both states are possible results of one program, so their structures must be equal.

    Raises:
      ValueError: it has; the message says where, and what to do.
    """
    structures: list[Any] = [jax.tree.structure(state) for state in (old, new)]
    if structures[0] == structures[1]:
        return
    counted = {path for path, node in nested_states(old) if "leaf_counts" in node}
    for path, node in nested_states(new):
        if "leaf_counts" in node and path not in counted:
            where = f" of {path_string(path)}" if path else ""
            raise ValueError(
                f"{link}: a gradient is None, so the inner state{where} begins to count the "
                "updates of each leaf; but the structure of that state must not depend on whether "
                "the inner transformation acts. Wrap the transformation in per_leaf_counts, and "
                "make its state again: the state then has these counts from the start."
            )
