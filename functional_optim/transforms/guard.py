"""Taking steps only if everything is finite."""

import dataclasses
import functools
import operator
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.numerics.precision import safe_increment
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.apply import no_updates
from ..core.trees.arithmetic import choose
from ..core.trees.placement import place_on_mesh_of
from ..core.trees.varying import varying_as
from .conditional_update import check_leaf_counts, with_metrics_of

__all__ = ["all_finite", "apply_if_finite", "count_finite", "init_finite_counters"]

Array = jax.Array


def all_finite(*trees: PyTree) -> Array:
    """Checks whether all elements of all floating-point arrays are finite, `()`."""
    leaves = [jnp.asarray(x) for x in jax.tree.leaves(trees)]
    are_finite = [jnp.isfinite(x).all() for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
    return functools.reduce(operator.and_, are_finite, jnp.array(True))


def init_finite_counters() -> dict[str, Array]:
    """Makes the counters before the first step."""
    return {
        "last_finite": jnp.array(1, jnp.int32),
        "total_notfinite": jnp.array(0, jnp.int32),
        "notfinite_count": jnp.array(0, jnp.int32),
    }


def count_finite(before: Mapping[str, Array], finite: Array) -> dict[str, Array]:
    """Updates the counters of steps that were not finite."""
    total, in_a_row = before["total_notfinite"], before["notfinite_count"]
    return {
        "last_finite": finite.astype(jnp.int32),
        "total_notfinite": jnp.where(finite, total, safe_increment(total)),
        "notfinite_count": jnp.where(finite, 0, safe_increment(in_a_row)),
    }


def apply_if_finite(
    inner: GradientTransformation, max_consecutive_errors: int
) -> GradientTransformation:
    """Takes a step only if the gradients and the updates computed from them are finite.

    Otherwise the updates are zero and the inner state stays as it was, with all moments and
    counts, as if there had been no step. Wrap the whole chain, so that all counts skip the step.
    After more than `max_consecutive_errors` such steps in a row, the update is applied even if it
    is not finite, so that a persistent failure shows.

    The state holds `inner_state` and, under `metrics`, `last_finite` (1 or 0), and how many steps
    were not finite: `notfinite_count` in a row, and `total_notfinite`. Inner transformations have
    the metrics of this step, whether it is taken or not. While a step is computed, the old and the
    new inner state are both in memory.

    Args:
      inner: the transformation whose steps are skipped.
      max_consecutive_errors: number of steps in a row that may be skipped.

    Differences: optax looks at the gradients only, so that a step that overflows within the
    inner transformation is taken; it keeps the counts as fields of the state.

    Raises:
      TypeError: inner is not a pair of functions, or the number not an integer.
      ValueError: the number is negative; or (by `update`) a gradient is None, and the state has no
        leaf counts: wrap `inner` in `per_leaf_counts`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.apply_if_finite(fo.sgd(0.5, momentum=0.9), max_consecutive_errors=5)
      >>> updates, state = tx.update({"w": jnp.inf}, tx.init({"w": 1.0}))
      >>> print(updates["w"], state.metrics["total_notfinite"], state.inner_state.trace.count)
      -0.0 1 0
    """
    init, update = check_pair("apply_if_finite: inner", inner)
    limit = as_count(max_consecutive_errors, "apply_if_finite: max_consecutive_errors", least=0)
    return GradientTransformation(
        _GuardInit(init, limit), _GuardUpdate.of(ExtraArgsAdapter.to(update))
    )


@named_init
@dataclasses.dataclass(frozen=True)
class _GuardInit:
    """`init` of a guarded transformation."""

    init: TransformInitFn
    max_consecutive_errors: int
    name = "apply_if_finite"

    def __call__(self, params: PyTree) -> State:
        """Makes the inner state, and the counts."""
        state = State(
            max_consecutive_errors=jnp.array(self.max_consecutive_errors, jnp.int32),
            metrics=init_finite_counters(),
            inner_state=self.init(params),
        )
        # Whether a step is taken depends on gradients, which may vary over a mesh.
        return place_on_mesh_of(params, varying_as(state, params))

    def __repr__(self) -> str:
        return f"apply_if_finite({self.init!r}, {self.max_consecutive_errors})"


@dataclasses.dataclass(frozen=True)
class _GuardUpdate(Interned):
    """`update` of a guarded transformation."""

    inner: ExtraArgsAdapter

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Takes the inner step if it is finite."""
        check_state("apply_if_finite", updates, state, params)
        new, inner_state = self.inner(updates, state.inner_state, params, extra)
        check_leaf_counts("apply_if_finite", state.inner_state, inner_state)
        finite = all_finite(updates, new)
        metrics = count_finite(state.metrics, finite)
        take = finite | (metrics["notfinite_count"] > state.max_consecutive_errors)
        # Measured at this step, which was computed although it may not be taken.
        chosen = with_metrics_of(choose(take, inner_state, state.inner_state), inner_state)
        return choose(take, new, no_updates(new)), state._replace(
            metrics=metrics, inner_state=chosen
        )
