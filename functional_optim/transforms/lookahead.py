"""Lookahead: slow weights that follow fast ones."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.interning import Interned
from ..core.link import Link, check_pair, link_name
from ..core.numbers import as_count
from ..core.placement import all_beside
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rule import leaf_rule
from ..core.state import State
from ..core.vectors import choose

__all__ = ["lookahead"]

Array = jax.Array


@leaf_rule(
    slots=lambda p: {"slow": p},
    requires=("params",),
    static=("sync_period",),
    bounds={"slow_step_size": "[0, 1]"},
    exact=True,
)
def look_back(
    g: Array, slots: Any, p: Array, now: Any, sync_period: int, slow_step_size: Hyperparameter
) -> tuple[Array, dict[str, Array]]:
    """Takes slow weights a part of the way to the fast ones, and the fast ones back to them."""
    sync = now.t % sync_period == 0
    slow = slots.slow + slow_step_size * (p + g - slots.slow)
    return jnp.where(sync, slow - p, g), {"slow": jnp.where(sync, slow, slots.slow)}


def lookahead(
    fast_optimizer: GradientTransformation,
    sync_period: int,
    slow_step_size: Hyperparameter,
    reset_state: bool = False,
) -> GradientTransformation:
    """Lets an optimizer run ahead, and every few steps takes slow weights a part of the way.

    The parameters are the fast weights; the slow ones are in the state, as `look_back.slow`, of
    their shape. At each `sync_period`-th update, with u from the fast optimizer:

        slow <- slow + slow_step_size (p + u - slow)
        p    <- slow

    `slow_step_size` `()` has no unit. Evaluate at the slow weights, or at the end of a period.

    Args:
      sync_period: number of fast steps, the last of which ends at the slow weights.
      reset_state: whether the fast optimizer's state starts anew after each period.

    Differences: optax takes and returns pairs of parameters; here they are plain, and the state
    has the fast optimizer's links, and `look_back`.

    Raises:
      TypeError: fast_optimizer is not a pair of functions, or sync_period no integer.
      ValueError: sync_period < 1, slow_step_size outside [0, 1], or `update` is called without
        params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.lookahead(fo.sgd(1.0), sync_period=2, slow_step_size=0.5), {"w": 4.0}
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 1.0}, state, params)
      ...     params = fo.apply_updates(params, updates)
      ...     print(params["w"])
      3.0
      3.0

    Reference: Zhang et al., Lookahead optimizer: k steps forward, 1 step back, NeurIPS 2019,
    Algorithm 1, arXiv:1907.08610.
    """
    sync_period = as_count(sync_period, "lookahead: sync_period")
    init, update = check_pair("lookahead: fast_optimizer", fast_optimizer)
    if reset_state:
        again = _Restarted.of(Link.to(update), init, sync_period)
        fast_optimizer = GradientTransformation(_RestartedInit(init), again)
    return chain(fast_optimizer, look_back(sync_period, slow_step_size))


@dataclasses.dataclass(frozen=True)
class _RestartedInit:
    """`init` of a transformation whose state starts anew every few steps."""

    init: Callable[..., Any]

    @property
    def name(self) -> str:
        """The name of the transformation itself."""
        return link_name(self.init, self.init)

    def __call__(self, params: PyTree) -> State:
        """Makes the state, and the count of steps since it was made."""
        state = State(steps=jnp.zeros((), jnp.int32), inner_state=self.init(params))
        return all_beside(params, state)

    def __repr__(self) -> str:
        return repr(self.init)


@dataclasses.dataclass(frozen=True)
class _Restarted(Interned):
    """`update` of a transformation whose state starts anew every few steps."""

    inner: Link
    init: Callable[..., Any]
    period: int

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Transforms the updates, from a new state where a period begins."""
        start = choose(state.steps == 0, self.init(params), state.inner_state)
        new, inner_state = self.inner(updates, start, params, extra)
        return new, State(steps=(state.steps + 1) % self.period, inner_state=inner_state)
