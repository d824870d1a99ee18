"""Steps that are taken only where everything is finite."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.apply import no_updates
from ..core.interning import Interned
from ..core.link import Link, check_pair
from ..core.numbers import as_count
from ..core.placement import all_beside
from ..core.precision import safe_increment
from ..core.protocol import GradientTransformation, PyTree
from ..core.state import State
from ..core.vectors import choose

__all__ = ["all_finite", "apply_if_finite", "tally", "tally_of_nothing"]

Array = jax.Array


def all_finite(*trees: PyTree) -> Array:
    """Whether all elements of all floating-point arrays are finite, `()`."""
    leaves = [jnp.asarray(x) for x in jax.tree.leaves(trees)]
    each = [jnp.isfinite(x).all() for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
    return functools.reduce(operator.and_, each, jnp.array(True))


def tally_of_nothing() -> dict[str, Array]:
    """What `tally` starts from."""
    return {"last_finite": jnp.array(1, jnp.int32), "total_notfinite": jnp.array(0, jnp.int32)}


def tally(before: Mapping[str, Array], finite: Array) -> dict[str, Array]:
    """Whether the last step was finite, and how many were not."""
    total = before["total_notfinite"]
    return {
        "last_finite": finite.astype(jnp.int32),
        "total_notfinite": jnp.where(finite, total, safe_increment(total)),
    }


def apply_if_finite(
    inner: GradientTransformation, max_consecutive_errors: int
) -> GradientTransformation:
    """Takes a step only where the gradients, and the updates made of them, are finite.

    Otherwise the updates are zero and the inner state stays as it was, with all moments and
    clocks, as if the step had not been; wrap all of a chain, so that no clock runs alone. After
    more than `max_consecutive_errors` such steps in a row, steps are taken as they are, so that
    what does not pass by itself is seen.

    The state holds `inner_state` and, under `metrics`, `last_finite` (1 or 0), and how many
    steps were not finite: `notfinite_count` in a row, and `total_notfinite`. Until it is known
    whether a step is taken, old and new inner state are both in memory.

    Differences: optax looks at the gradients only, so that a step that overflows within the
    inner transformation is taken; it keeps the counts as fields of the state.

    Raises:
      TypeError: inner is not a pair of functions, or the number no integer.
      ValueError: the number is negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.apply_if_finite(fo.sgd(0.5, momentum=0.9), max_consecutive_errors=5)
      >>> updates, state = tx.update({"w": jnp.inf}, tx.init({"w": 1.0}))
      >>> print(updates["w"], state.metrics["total_notfinite"], state.inner_state.trace.count)
      -0.0 1 0
    """
    init, update = check_pair("apply_if_finite: inner", inner)
    most = as_count(max_consecutive_errors, "apply_if_finite: max_consecutive_errors", least=0)
    return GradientTransformation(_Init(init, most), _Update.of(Link.to(update)))


@dataclasses.dataclass(frozen=True)
class _Init:
    """`init` of a guarded transformation."""

    init: Callable[..., Any]
    most: int
    name = "apply_if_finite"

    def __call__(self, params: PyTree) -> State:
        """Makes the inner state, and the counts."""
        state = State(
            max_consecutive_errors=jnp.array(self.most, jnp.int32),
            metrics=tally_of_nothing() | {"notfinite_count": jnp.array(0, jnp.int32)},
            inner_state=self.init(params),
        )
        return all_beside(params, state)

    def __repr__(self) -> str:
        return f"apply_if_finite({self.init!r}, {self.most})"


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of a guarded transformation."""

    inner: Link

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Takes the inner step, or none."""
        new, inner_state = self.inner(updates, state.inner_state, params, extra)
        finite = all_finite(updates, new)
        before = state.metrics
        row = jnp.where(finite, 0, safe_increment(before["notfinite_count"]))
        take = finite | (row > state.max_consecutive_errors)
        metrics = tally(before, finite) | {"notfinite_count": row}
        chosen = choose(take, inner_state, state.inner_state)
        return choose(take, new, no_updates(new)), state._replace(
            metrics=metrics, inner_state=chosen
        )
