"""Mechanic: learns a factor for the steps of another optimizer."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.composed import composed
from ..core.decorators import TreeStats, leaf_rule
from ..core.numerics.precision import safe_sqrt
from ..core.numerics.products import inner_product, sum_of_squares
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.rules.arguments import NonNegative, Positive, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.norms import rescale_norm
from ..core.types import ScalarOrSchedule

__all__ = ["mechanize"]

Array = jax.Array


def _start(s_init: Array, num_betas: int) -> dict[str, Array]:
    zeros = jnp.zeros(num_betas, s_init.dtype)
    return {"r": zeros, "m": zeros, "v": zeros, "s": jnp.full_like(zeros, s_init)}


def _measure(g: Array, slots: Slots, p: Array, ctx: StepContext, **_: object) -> dict[str, Array]:
    """Measures the raw gradient and the parameter along the difference to the initial parameter."""
    back, gradient = slots.x0 - p, ctx.gradient
    scaled = ctx.scale * gradient if hasattr(ctx, "scale") else gradient
    return {
        "gradient_back": inner_product(gradient, back),
        "param_back": inner_product(p, back),
        "gradient_squares": sum_of_squares(scaled),
        "param_squares": sum_of_squares(p),
    }


def _combine(
    stats: Mapping[str, Array] | None,
    last: Mapping[str, Array],
    weight_decay: Array,
    eps: Array,
    s_init: Array,
    num_betas: int,
) -> dict[str, Array]:
    """Computes the factor of each bettor, and the sums of factors before and after this update."""
    r, m, v, s = (last[k] for k in ("r", "m", "v", "s"))
    before = jnp.sum(s)
    if stats is not None:
        sums = {k: jnp.sum(x) for k, x in stats.items()}
        g_norm, p_norm = (safe_sqrt(sums[f"{k}_squares"]) for k in ("gradient", "param"))
        g_norm = g_norm / last["scale"]
        decay = weight_decay * before * g_norm / (p_norm + eps)
        h = (sums["gradient_back"] + decay * sums["param_back"]) / (before + eps)
        betas = jnp.asarray([1 - 0.1**i for i in range(1, num_betas + 1)], s.dtype)
        r = betas * r + jnp.clip(h, -m, m) * s
        m = jnp.maximum(betas * m, jnp.abs(h) + eps)
        v = jnp.square(betas) * v + jnp.square(h)
        # The wealth of a bettor is an initial endowment plus its rewards so far.
        wealth = (s_init / num_betas) * m + jnp.maximum(r, 0.0)
        s = wealth / (safe_sqrt(v) + eps)
    after = jnp.sum(s)
    back = (before + eps - after) / (before + eps)
    return {"r": r, "m": m, "v": v, "s": s, "factor": after, "part_back": back}


@leaf_rule(
    slots=lambda p: {"x0": p},
    tree_stats=TreeStats(
        measure=_measure,
        rescale=lambda stats: rescale_norm({"squares": stats["gradient_squares"]}),
        combine=_combine,
        start=_start,
        metrics=("factor",),
    ),
    needs=("params",),
    needs_trees=("gradient",),
    keep_compute_dtype=True,
)
def mechanic_step(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    weight_decay: NonNegative = 1e-2,
    eps: Positive = 1e-8,
    s_init: Positive = 1e-6,
    num_betas: Static[int] = 6,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes the step to p0, plus the sum of all steps times the new factor; see `mechanize`."""
    del weight_decay, eps, s_init, num_betas, state_dtype
    return ctx.part_back * (slots.x0 - p) + ctx.factor * g, {"x0": slots.x0}


@composed
def mechanize(
    base_optimizer: GradientTransformation,
    weight_decay: ScalarOrSchedule = 1e-2,
    eps: ScalarOrSchedule = 1e-8,
    s_init: ScalarOrSchedule = 1e-6,
    num_betas: int = 6,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Mechanic: learns a factor for the steps of an optimizer, with several bettors.

    With sums and norms over all parameters, which started at p0, the step u of base_optimizer, and
    num_betas bettors, whose r, m and v decay by beta = 0.9, 0.99, ..., and whose s start at s_init:

        S      = sum(s)
        D      = (p0 - p) / (S + eps)
        h      = <g + weight_decay S |g| / (|p| + eps) p, D>
        r     <- beta r + clip(h, -m, m) s
        m     <- max(beta m, |h| + eps)
        v     <- beta^2 v + h^2
        s     <- (s_init m / num_betas + max(r, 0)) / (sqrt(v) + eps)
        p     <- p0 - sum(s) (D - u)

    where r is computed with m and s of the previous update. The state has `base_optimizer_state`,
    and under `mechanic_step` p0 as `x0`, of shape `*p`, r, m, v and s `(num_betas,)` in float32
    whatever the dtype of the parameters, and sum(s) as `metrics["factor"]`. `weight_decay` `()` has
    no unit; eps and s_init are small positive numbers. base_optimizer should have a learning rate,
    or a schedule with a peak, of 1, and should not normalize its updates. Extra arguments are
    passed to it.

    Args:
      base_optimizer: the optimizer whose steps get the factor.
      weight_decay: decay relative to the size of the gradient; without a unit.
      eps: a small number above 0, added to divisors.
      s_init: the factor at the start, a small number above 0.
      num_betas: number of bettors.
      state_dtype: dtype of p0.

    Differences: in optax, whose code is by an author, p0 are the parameters of the first update,
    and here the parameters of `init`; optax keeps the scalars in the dtype of the parameters. The
    paper's Algorithm 1 does not clip h, and has eps only in the last division. The authors' code
    for PyTorch does not clip either, starts with s = 0, and decays the parameters after the step.

    Raises:
      TypeError: base_optimizer is not a pair of functions, or num_betas is not an integer.
      ValueError: an argument outside its interval, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.mechanize(fo.sgd(1.0), s_init=0.5), {"w": 4.0}
      >>> updates, state = tx.update({"w": 2.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f} {fo.metrics(state)['factor']:.4f}")
      -1.0000 0.5000

    Reference: Cutkosky, Defazio & Mehta, Mechanic: a learning rate tuner, NeurIPS 2023, Algorithm
    1, arXiv:2306.00144.
    """
    init, update = check_pair("mechanize: base_optimizer", base_optimizer)
    num_betas = as_count(num_betas, "mechanize: num_betas")
    tuner = mechanic_step(weight_decay, eps, s_init, num_betas, state_dtype=state_dtype)
    mechanized = _Mechanized.of(ExtraArgsAdapter.to(update), ExtraArgsAdapter.to(tuner.update))
    return GradientTransformation(_MechanizedInit(init, tuner.init), mechanized)


@named_init
@dataclasses.dataclass(frozen=True)
class _MechanizedInit:
    """`init` of a mechanized optimizer."""

    base: TransformInitFn
    tuner: TransformInitFn
    name = "mechanize"

    @property
    def parts(self) -> dict[str, TransformInitFn]:
        """The `init` of each transformation within, by the field of its state."""
        return {"base_optimizer_state": self.base, "mechanic_step": self.tuner}

    def __call__(self, params: PyTree) -> State:
        """Makes the states of the optimizer and of its tuner."""
        return State(base_optimizer_state=self.base(params), mechanic_step=self.tuner(params))

    def __repr__(self) -> str:
        return f"mechanize({self.base!r}, {self.tuner!r})"


@dataclasses.dataclass(frozen=True)
class _Mechanized(Interned):
    """`update` of a mechanized optimizer."""

    base: ExtraArgsAdapter
    tuner: ExtraArgsAdapter

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Computes the step of the optimizer, times the factor."""
        check_state("mechanize", updates, state, params)
        step, base_state = self.base(updates, state.base_optimizer_state, params, extra)
        needs = {"gradient": updates}
        step, tuner_state = self.tuner(step, state.mechanic_step, params, needs)
        return step, State(base_optimizer_state=base_state, mechanic_step=tuner_state)
