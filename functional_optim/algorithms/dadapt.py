"""D-Adaptation: step sizes from a lower bound of the distance to the solution."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import TreeStats, leaf_rule
from ..core.numerics.moments import moment
from ..core.numerics.precision import safe_sqrt
from ..core.numerics.products import inner_product, sum_of_magnitudes, sum_of_squares
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, Positive, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.weight_decay import add_decayed_weights
from .prodigy import GrowthRate, adam_correction, unpack_betas

__all__ = ["dadapt_adamw", "dadapt_sgd"]

Array = jax.Array


def _grown(d: Array, estimate: Array, growth_rate: Array | None) -> Array:
    """Returns the larger of two estimates; growth_rate bounds the ratio of the new to the old."""
    if growth_rate is not None:
        estimate = jnp.minimum(estimate, d * growth_rate)
    return jnp.maximum(d, estimate)


def _prepare_adam(
    last: Mapping[str, Array],
    learning_rate: Array,
    b1: Array,
    b2: Array,
    bias_correction: bool,
    **_: object,
) -> dict[str, Array]:
    """Computes the step size, and the weights of the gradient."""
    rate = last["estim_lr"] * learning_rate
    if bias_correction:
        rate = rate * adam_correction(last["count"], b1, b2)
    root = safe_sqrt(b2)
    complement = (1 - b2) / (1 + root)  # 1 - sqrt(b2), computed without cancellation
    return {
        "rate": rate,
        "mu_gain": rate * (1 - b1),
        "nu_gain": 1 - b2,
        "sum_decay": root,
        "sum_complement": complement,
        "sum_gain": rate * complement,
    }


def _next_grad_sum(g: Array, slots: Slots, ctx: StepContext) -> Array:
    return moment(slots.grad_sum, g, ctx.sum_decay, ctx.sum_gain)


def _measure_adam(
    g: Array, slots: Slots, p: Array, ctx: StepContext, eps: Array, **_: object
) -> dict[str, Array]:
    return {
        "progress": inner_product(g, slots.grad_sum / (eps + safe_sqrt(slots.nu))),
        "size": sum_of_magnitudes(_next_grad_sum(g, slots, ctx)),
    }


def _combine_adam(
    stats: Mapping[str, Array] | None,
    last: Mapping[str, Array],
    growth_rate: Array | None,
    **_: object,
) -> dict[str, Array]:
    """Computes the estimate, which does not change while all gradients are 0."""
    d, numerator = last["estim_lr"], last["numerator_weighted"]
    if stats is not None:
        size, complement = jnp.sum(stats["size"]), last["sum_complement"]
        is_positive = size > 0
        gain = complement * last["rate"]
        new = last["sum_decay"] * numerator + gain * jnp.sum(stats["progress"])
        numerator = jnp.where(is_positive, new, numerator)
        estimate = numerator / (complement * jnp.where(is_positive, size, 1.0))
        d = jnp.where(is_positive, _grown(d, estimate, growth_rate), d)
    return {"estim_lr": d, "numerator_weighted": numerator, "d": d}


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu", "grad_sum")},
    tree_stats=TreeStats(
        prepare=_prepare_adam,
        measure=_measure_adam,
        combine=_combine_adam,
        start=lambda estim_lr0: {"estim_lr": estim_lr0, "numerator_weighted": 0.0},
        metrics=("d",),
    ),
    needs=("params",),
)
def dadapt_adamw_step(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
    estim_lr0: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    bias_correction: Static[bool] = False,
    growth_rate: GrowthRate = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes the step of `dadapt_adamw`."""
    del learning_rate, estim_lr0, bias_correction, growth_rate, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    # The decay comes first: in this order XLA compiles one loop for all leaves of a shape.
    u = (weight_decay * ctx.rate) * p + mu / (eps + safe_sqrt(nu))
    return -u, {"mu": mu, "nu": nu, "grad_sum": _next_grad_sum(g, slots, ctx)}


@composed(b1="betas[0]", b2="betas[1]")
def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[ScalarOrSchedule, ScalarOrSchedule] = (0.9, 0.999),
    eps: ScalarOrSchedule = 1e-8,
    estim_lr0: ScalarOrSchedule = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    bias_correction: bool = False,
    growth_rate: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """AdamW with D-Adaptation: its step size is an estimate d of the distance to the solution.

    With b1, b2 = betas, sums over all parameters, and d from the previous update, estim_lr0 at the
    start:

        rate   = d learning_rate,       k = sqrt(b2)
        num   <- k num + (1 - k) rate <g, s / (sqrt(v) + eps)>
        m     <- b1 m + (1 - b1) rate g
        v     <- b2 v + (1 - b2) g^2
        s     <- k s + (1 - k) rate g
        d     <- max(d, num / ((1 - k) |s|_1))
        p     <- p - m / (sqrt(v) + eps) - rate weight_decay p

    where num is computed with s and v of the previous update. If all gradients are 0, num and d do
    not change. `dadapt_adamw_step` keeps m, v and s as `mu`, `nu` and `grad_sum`, of shape `*p`; d
    and num as `estim_lr` and `numerator_weighted` `()`, in float32 whatever the dtype of the
    parameters; and d as `metrics["d"]`. d and estim_lr0 are in units of p, eps in units of g.

    Args:
      learning_rate: factor of d: 1, or a schedule that begins or ends at 1.
      betas: b1 and b2, the decays of m and of v, each in [0, 1).
      eps: added to the root; in units of g.
      estim_lr0: d at the start, a small number; in units of p.
      weight_decay: factor of the decoupled decay, in units of 1 / p.
      bias_correction: whether rate has a factor sqrt(1 - b2^t) / (1 - b1^t), as in Adam.
      growth_rate: the largest factor by which d grows in one update; None for no limit.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax always corrects the bias; the paper does not, and in the authors' code it is
    an option. optax has no growth_rate, and keeps d and num in the dtype of the parameters. The
    estimate is the one in the authors' later code. It is never less than the paper's estimate,
    which is computed from |s|^2 in the norm that v defines.

    Raises:
      TypeError: betas are not a pair.
      ValueError: a number outside its interval, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.dadapt_adamw(estim_lr0=0.5), {"w": 3.0}
      >>> updates, state = tx.update({"w": 4.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -1.5811

    Reference: Defazio & Mishchenko, Learning-rate-free learning by D-Adaptation, ICML 2023,
    Algorithm 5, arXiv:2301.07733, and version 3 of their package `dadaptation`.
    """
    b1, b2 = unpack_betas("dadapt_adamw", betas)
    step = dadapt_adamw_step(
        learning_rate,
        b1,
        b2,
        eps,
        estim_lr0,
        weight_decay,
        bias_correction=bias_correction,
        growth_rate=growth_rate,
        state_dtype=state_dtype,
    )
    return chain(step)


def _measure_sgd(
    g: Array, slots: Slots, p: Array, ctx: StepContext, **_: object
) -> dict[str, Array]:
    """Measures the terms of |s + rate g|^2, because rate itself depends on the sum of squares."""
    return {
        "squares": sum_of_squares(g),
        "progress": inner_product(g, slots.grad_sum),
        "sum_squares": sum_of_squares(slots.grad_sum),
    }


def _combine_sgd(
    stats: Mapping[str, Array] | None,
    last: Mapping[str, Array],
    learning_rate: Array,
    growth_rate: Array | None,
    **_: object,
) -> dict[str, Array]:
    """Computes the step size, and the estimate for the next one."""
    d, numerator, first = (last[k] for k in ("estim_lr", "numerator_weighted", "g0_norm"))
    rate = jnp.zeros_like(d)
    if stats is not None:
        squares, progress, size = (
            jnp.sum(stats[k]) for k in ("squares", "progress", "sum_squares")
        )
        first = jnp.where(first > 0, first, safe_sqrt(squares))
        rate = jnp.where(first > 0, d * learning_rate / jnp.where(first > 0, first, 1.0), 0.0)
        numerator = numerator + rate * progress
        size = size + rate * (2 * progress + rate * squares)
        is_positive = size > 0
        estimate = 2 * numerator / jnp.sqrt(jnp.where(is_positive, size, 1.0))
        d = jnp.where(is_positive, _grown(d, estimate, growth_rate), d)
    return {
        "estim_lr": d, "numerator_weighted": numerator, "g0_norm": first, "rate": rate, "d": d
    }  # fmt: skip


@leaf_rule(
    slots=lambda p: {"grad_sum": jnp.zeros_like(p), "params0": p},
    tree_stats=TreeStats(
        measure=_measure_sgd,
        combine=_combine_sgd,
        start=lambda estim_lr0: {
            "estim_lr": estim_lr0, "numerator_weighted": 0.0, "g0_norm": 0.0
        },
        metrics=("d",),
    ),
    needs=("params",),
    keep_compute_dtype=True,
)  # fmt: skip
def dadapt_sgd_step(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative = 1.0,
    momentum: Decay = 0.0,
    estim_lr0: Positive = 1e-6,
    *,
    growth_rate: GrowthRate = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes the step of `dadapt_sgd`."""
    del learning_rate, estim_lr0, growth_rate, state_dtype
    total = slots.grad_sum + ctx.rate * g
    z = slots.params0 - total
    return (1 - momentum) * (z - p), {"grad_sum": total, "params0": slots.params0}


@composed
def dadapt_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    momentum: ScalarOrSchedule = 0.0,
    weight_decay: ScalarOrSchedule | None = None,
    estim_lr0: ScalarOrSchedule = 1e-6,
    *,
    mask: MaskOrFn = None,
    growth_rate: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """SGD with D-Adaptation: its step size is an estimate d of the distance to the solution.

    With norms and sums over all parameters, which started at p0, d from the previous update,
    estim_lr0 at the start, and g0 the first gradient that is not 0:

        g     <- g + weight_decay p
        rate   = d learning_rate / |g0|
        num   <- num + rate <g, s>
        s     <- s + rate g
        d     <- max(d, 2 num / |s|)
        p     <- momentum p + (1 - momentum) (p0 - s)

    where num is computed with s of the previous update. `dadapt_sgd_step` keeps s and p0 as
    `grad_sum` and `params0`, of shape `*p`; d, num and |g0| `()` as `estim_lr`,
    `numerator_weighted` and `g0_norm`, in float32 whatever the dtype of the parameters; and d as
    `metrics["d"]`. d and estim_lr0 are in units of p.

    Args:
      learning_rate: factor of d: 1, or a schedule that begins or ends at 1.
      momentum: weight of p in the next p, in [0, 1).
      weight_decay: factor of an L2 penalty, in units of g per unit of p; None for no penalty.
      estim_lr0: d at the start, a small number; in units of p.
      mask: which parameters decay; see `masked`.
      growth_rate: the largest factor by which d grows in one update; None for no limit.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: in the authors' code, g0 does not include weight decay. The paper's estimate is
    (|s|^2 - the sum of all |rate g|^2) / |s|, which equals 2 num / |s| while d does not change.
    optax does not have this optimizer.

    Raises:
      ValueError: a number outside its interval, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.dadapt_sgd(estim_lr0=0.5), {"w": 3.0}
      >>> updates, state = tx.update({"w": 4.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(2.5, dtype=float32)}

    Reference: Defazio & Mishchenko, Learning-rate-free learning by D-Adaptation, ICML 2023,
    Algorithm 4, arXiv:2301.07733, and version 3 of their package `dadaptation`.
    """
    step = dadapt_sgd_step(
        learning_rate, momentum, estim_lr0, growth_rate=growth_rate, state_dtype=state_dtype
    )
    decay = [] if weight_decay is None else [add_decayed_weights(weight_decay, mask)]
    return chain(*decay, step)
