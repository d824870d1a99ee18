"""Runs inner transformations at some steps only."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.state import State, is_rule_state, nested_states, states_below
from ..core.trees.apply import no_updates
from ..core.trees.structure import path_string
from ..core.trees.varying import cond
from ..core.types import OptState

__all__ = ["run_if", "zero_metrics", "check_leaf_counts", "with_metrics_of"]

Array = jax.Array


def run_if(
    link: str,
    holds: Array,
    act: Callable[[], tuple[PyTree, OptState]],
    state: OptState,
    instead: PyTree | None = None,
) -> tuple[PyTree, OptState]:
    """Runs `act()`, which returns updates and state, where a condition `()` holds.

    Where it does not hold, nothing is computed: the updates are `instead`, and the state does not
    change, except for its metrics, which become 0.

    Args:
      link: name of the wrapper, for errors.
      state: the state where the condition does not hold.
      instead: the updates where the condition does not hold, which are cast to the dtypes that
        `act` returns; None for zero updates.

    Raises:
      ValueError: `act` counts the updates of each leaf, and `state` does not.
    """
    # Both branches of a conditional need equal types: trace `act` for the types of its result.
    like, new_state = jax.eval_shape(act)
    check_leaf_counts(link, state, new_state)

    def skip() -> tuple[PyTree, OptState]:
        if instead is None:
            updates = no_updates(jax.tree.map(_zeros, like))
        else:
            updates = jax.tree.map(lambda x, y: jnp.asarray(x).astype(y.dtype), instead, like)
        return updates, zero_metrics(jax.tree.map(jnp.asarray, state))

    return cond(holds, act, skip)


def _zeros(x: jax.ShapeDtypeStruct) -> Array:
    # The sharding is None unless the mesh has explicit axes.
    return jnp.zeros(x.shape, x.dtype, out_sharding=x.sharding)


def zero_metrics(state: PyTree) -> PyTree:
    """Sets the metrics of a state to 0, for a step at which its transformation does not run."""
    return _replace_metrics(state, state, lambda metrics: jax.tree.map(jnp.zeros_like, metrics))


def with_metrics_of(state: PyTree, other: PyTree) -> PyTree:
    """Returns a state with the metrics of another one.

    Counters that wrappers keep as metrics are not replaced, because they continue over all steps.
    """
    return _replace_metrics(state, other, lambda metrics: metrics)


def _replace_metrics(state: PyTree, other: PyTree, take: Callable[[PyTree], PyTree]) -> PyTree:
    def below(child: PyTree, other_child: PyTree) -> PyTree:
        return _replace_metrics(child, other_child, take) if isinstance(child, State) else child

    if isinstance(state, State) and "metrics" in state and not _has_counters(state):
        state = state._replace(metrics=take(other.metrics))
    return jax.tree.map(below, state, other, is_leaf=states_below(state))


def _has_counters(state: State) -> bool:
    """Tells whether the metrics of a state are counters of a wrapper, and not measurements."""
    return not (is_rule_state(state) or "measure_states" in state)


def check_leaf_counts(link: str, old: PyTree, new: PyTree) -> None:
    """Checks that an inner state has not gained `leaf_counts`.

    Both states are possible results of one program, so their structures must be equal.

    Raises:
      ValueError: the inner state has gained them; the message names the state and the remedy.
    """
    structures: list[object] = [jax.tree.structure(state) for state in (old, new)]
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
