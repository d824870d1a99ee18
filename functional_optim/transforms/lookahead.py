"""Lookahead: slow weights that follow fast ones."""

import dataclasses

import jax
import jax.numpy as jnp

from ..core.adapter import ExtraArgsAdapter, check_pair, link_name
from ..core.caching import Interned
from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.rules.arguments import Fraction, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.arithmetic import choose
from ..core.trees.placement import place_on_mesh_of
from ..core.types import ScalarOrSchedule
from .conditional_update import check_leaf_counts

__all__ = ["lookahead"]

Array = jax.Array


def _step_scalars(t: Array, sync_period: int, slow_step_size: Array) -> dict[str, Array]:
    """Computes whether update number t ends a period, and the weight of the fast parameters."""
    sync = t % sync_period == 0
    return {"sync": sync, "weight": jnp.where(sync, slow_step_size, 0.0)}


@leaf_rule(
    slots=lambda p: {"slow": p},
    step_scalars=_step_scalars,
    needs=("params",),
    keep_compute_dtype=True,
)
def look_back(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    sync_period: Static[int],
    slow_step_size: Fraction,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Moves slow weights part of the way to the fast ones, and then the fast ones back to them."""
    del sync_period, slow_step_size, state_dtype
    slow = slots.slow + ctx.weight * (p + g - slots.slow)
    return jax.lax.select(ctx.sync, slow - p, g), {"slow": slow}


@composed
def lookahead(
    fast_optimizer: GradientTransformation,
    sync_period: int,
    slow_step_size: ScalarOrSchedule,
    reset_state: bool = False,
) -> GradientTransformation:
    """Runs an optimizer, and every few steps moves slow weights part of the way to its parameters.

    The parameters are the fast weights; the state keeps the slow ones as `look_back.slow`, of the
    same shape. At each `sync_period`-th update, with u from the fast optimizer:

        slow <- slow + slow_step_size (p + u - slow)
        p    <- slow

    `slow_step_size` `()` has no unit. Evaluate at the slow weights, or at the end of a period.

    Args:
      fast_optimizer: the optimizer that takes the fast steps.
      sync_period: number of fast steps, the last of which ends at the slow weights.
      slow_step_size: share of the way to the fast weights, in [0, 1].
      reset_state: whether the fast optimizer's state is made again after each period.

    Differences: optax takes and returns pairs of parameters; here the parameters are a plain tree,
    and the state has the fast optimizer's links, and `look_back`.

    Raises:
      TypeError: fast_optimizer is not a pair of functions, or sync_period not an integer.
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
        restarting = _RestartingUpdate.of(ExtraArgsAdapter.to(update), init, sync_period)
        fast_optimizer = GradientTransformation(_RestartingInit(init), restarting)
    return chain(fast_optimizer, look_back(sync_period, slow_step_size))


@named_init
@dataclasses.dataclass(frozen=True)
class _RestartingInit:
    """`init` of a transformation whose state is made again every few steps."""

    init: TransformInitFn

    @property
    def name(self) -> str:
        """Name of the inner transformation."""
        return link_name(self.init, self.init)

    def __call__(self, params: PyTree) -> State:
        """Makes the state, and the count of steps since it was made."""
        state = State(steps=jnp.zeros((), jnp.int32), inner_state=self.init(params))
        return place_on_mesh_of(params, state)

    def __repr__(self) -> str:
        return repr(self.init)


@dataclasses.dataclass(frozen=True)
class _RestartingUpdate(Interned):
    """`update` of a transformation whose state is made again every few steps."""

    inner: ExtraArgsAdapter
    init: TransformInitFn
    period: int

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Transforms the updates, with a new state where a period begins."""
        start = choose(state.steps == 0, self.init(params), state.inner_state)
        new, inner_state = self.inner(updates, start, params, extra)
        check_leaf_counts("lookahead", start, inner_state)
        return new, State(steps=(state.steps + 1) % self.period, inner_state=inner_state)
