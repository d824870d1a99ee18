"""Prodigy: Adam whose step size is an estimate of the distance to the solution."""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import TreeStats, leaf_rule
from ..core.numerics.moments import bias_correction as correction_of
from ..core.numerics.moments import bias_root, moment
from ..core.numerics.precision import hyper_dtype, safe_sqrt
from ..core.numerics.products import inner_product, sum_of_magnitudes
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import (
    Decay,
    NonNegative,
    Optional_,
    Positive,
    StateDtype,
    Static,
    Within,
)
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule

__all__ = ["GrowthRate", "adam_correction", "unpack_betas", "prodigy"]

Array = jax.Array

GrowthRate = Annotated[Hyperparameter | None, Within("[1, inf)"), Optional_]
"""The largest factor by which an estimate grows in one update; None for no limit."""


def unpack_betas(
    rule: str, betas: tuple[ScalarOrSchedule, ScalarOrSchedule]
) -> tuple[ScalarOrSchedule, ScalarOrSchedule]:
    """Returns the two decays that an optimizer takes as one argument.

    Raises:
      TypeError: betas are not a tuple or list of two.
    """
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        message = f"betas must be a pair of numbers, got {betas!r}. Pass (0.9, 0.999)."
        raise TypeError(f"{rule}: {message}")
    return betas[0], betas[1]


def adam_correction(count: Array, b1: Array, b2: Array) -> Array:
    """Computes the bias corrections of both of Adam's moments, for the update after `count`."""
    t = count.astype(hyper_dtype()) + 1
    return bias_root(b2, t) * correction_of(b1, t)


def _start(estim_lr0: Array) -> dict[str, Array | float]:
    return {"estim_lr": estim_lr0, "estim_lr_max": estim_lr0, "numerator_weighted": 0.0}


def _prepare(
    last: Mapping[str, Array],
    learning_rate: Array,
    b1: Array,
    b2: Array,
    beta3: Array | None,
    estim_lr0: Array,
    safeguard_warmup: bool,
    bias_correction: bool,
    **_: object,
) -> dict[str, Array]:
    """Computes the step size, and the weights of the gradient."""
    d = last["estim_lr"]
    rate = d * learning_rate
    if bias_correction:
        rate = rate * adam_correction(last["count"], b1, b2)
    ratio = d / estim_lr0
    return {
        "rate": rate,
        "mu_gain": d * (1 - b1),
        "nu_gain": jnp.square(d) * (1 - b2),
        "sum_decay": safe_sqrt(b2) if beta3 is None else beta3,
        "sum_gain": ratio * (d if safeguard_warmup else rate),
        "numerator_gain": ratio * rate,
    }


def _next_grad_sum(g: Array, slots: Slots, ctx: StepContext) -> Array:
    return moment(slots.grad_sum, g, ctx.sum_decay, ctx.sum_gain)


def _measure(g: Array, slots: Slots, p: Array, ctx: StepContext, **_: object) -> dict[str, Array]:
    return {
        "progress": inner_product(g, slots.params0 - p),
        "size": sum_of_magnitudes(_next_grad_sum(g, slots, ctx)),
    }


def _combine(
    stats: Mapping[str, Array] | None,
    last: Mapping[str, Array],
    estim_lr0: Array,
    estim_lr_coef: Array,
    growth_rate: Array | None,
    **_: object,
) -> dict[str, Array]:
    """Computes the estimate, which does not change while all gradients are 0."""
    d, largest, numerator = (last[k] for k in ("estim_lr", "estim_lr_max", "numerator_weighted"))
    if stats is None:
        return {"estim_lr": d, "estim_lr_max": largest, "numerator_weighted": numerator, "d": d}
    size = jnp.sum(stats["size"])
    # Both operands of a select are computed, so the divisor must not be 0 in either.
    is_positive = size > 0
    new = last["sum_decay"] * numerator + last["numerator_gain"] * jnp.sum(stats["progress"])
    numerator = jnp.where(is_positive, new, numerator)
    estimate = estim_lr_coef * numerator / jnp.where(is_positive, size, 1.0)
    estimate = jnp.where(is_positive, estimate, d)
    largest = jnp.maximum(largest, estimate)
    if growth_rate is None:
        d = largest
    else:
        # The first estimate has no limit: estim_lr0 may be too small by many orders of magnitude.
        first = jnp.where(d == estim_lr0, jnp.maximum(d, estimate), d)
        d = jnp.where(is_positive, jnp.minimum(largest, first * growth_rate), d)
    return {"estim_lr": d, "estim_lr_max": largest, "numerator_weighted": numerator, "d": d}


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu", "grad_sum")} | {"params0": p},
    tree_stats=TreeStats(
        prepare=_prepare, measure=_measure, combine=_combine, start=_start, metrics=("d",)
    ),
    needs=("params",),
)
def prodigy_step(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    beta3: Annotated[Hyperparameter | None, Within("[0, 1)"), Optional_] = None,
    eps: NonNegative = 1e-8,
    estim_lr0: Positive = 1e-6,
    estim_lr_coef: Positive = 1.0,
    weight_decay: NonNegative = 0.0,
    safeguard_warmup: Static[bool] = False,
    *,
    bias_correction: Static[bool] = False,
    growth_rate: GrowthRate = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes the step of `prodigy`."""
    del learning_rate, beta3, estim_lr0, estim_lr_coef, safeguard_warmup
    del bias_correction, growth_rate, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    u = mu / (eps * ctx.estim_lr + safe_sqrt(nu)) + weight_decay * p
    grad_sum = _next_grad_sum(g, slots, ctx)
    return -ctx.rate * u, {"mu": mu, "nu": nu, "grad_sum": grad_sum, "params0": slots.params0}


@composed(b1="betas[0]", b2="betas[1]")
def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[ScalarOrSchedule, ScalarOrSchedule] = (0.9, 0.999),
    beta3: ScalarOrSchedule | None = None,
    eps: ScalarOrSchedule = 1e-8,
    estim_lr0: ScalarOrSchedule = 1e-6,
    estim_lr_coef: ScalarOrSchedule = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    safeguard_warmup: bool = False,
    *,
    bias_correction: bool = False,
    growth_rate: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Prodigy: AdamW whose step size is an estimate d of the distance to the solution.

    With b1, b2 = betas, sums over all parameters, which started at p0, and d from the previous
    update, estim_lr0 at the start:

        rate   = d learning_rate
        m     <- b1 m + (1 - b1) d g
        v     <- b2 v + (1 - b2) (d g)^2
        s     <- beta3 s + (d / estim_lr0) rate g
        num   <- beta3 num + (d / estim_lr0) rate <g, p0 - p>
        d     <- max(d, estim_lr_coef num / |s|_1)
        p     <- p - rate (m / (sqrt(v) + d eps) + weight_decay p)

    If all gradients are 0, num and d do not change. `prodigy_step` keeps m, v, s and p0 as `mu`,
    `nu`, `grad_sum` and `params0`, of shape `*p`; d, its largest value and num as `estim_lr`,
    `estim_lr_max` and `numerator_weighted` `()`, in float32 whatever the dtype of the parameters;
    and d as `metrics["d"]`. d and estim_lr0 are in units of p, eps is in units of g; the other
    arguments `()` have no unit. The sums are over all parameters on all devices; use `partition`
    for groups that each have a d.

    Args:
      learning_rate: factor of d: 1, or a schedule that begins or ends at 1.
      betas: b1 and b2, the decays of m and of v, each in [0, 1).
      beta3: decay of s and num, in [0, 1); None for sqrt(b2).
      eps: added to the root, times d; in units of g.
      estim_lr0: d at the start, a small number; in units of p.
      estim_lr_coef: factor of the estimate; d grows with it.
      weight_decay: factor of the decoupled decay.
      safeguard_warmup: whether d replaces rate in s, so that a learning rate that warms up does not
        make s small, and d large.
      bias_correction: whether rate has a factor sqrt(1 - b2^t) / (1 - b1^t), as in Adam.
      growth_rate: the largest factor by which d grows in one update, after the first change of d;
        None for no limit.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax always corrects the bias, which is an option in the paper and in the authors'
    code; it has no growth_rate; it keeps d and num in the dtype of the parameters, and in bfloat16
    they stop growing; and its d is NaN after an update at which all gradients, or the learning
    rate, are 0. The authors' code takes no step then. It also has L2 decay; put
    `add_decayed_weights` before this optimizer for that.

    Raises:
      TypeError: betas are not a pair.
      ValueError: an argument outside its interval, or `update` is called without params.

    Example:
      >>> import functional_optim as fo, jax
      >>> tx, params = fo.prodigy(), {"w": 3.0}
      >>> state = tx.init(params)
      >>> for _ in range(100):
      ...     grads = jax.tree.map(lambda w: 2 * (w - 1), params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> bool(abs(params["w"] - 1) < 0.5), bool(0.1 < fo.metrics(state)["d"] < 2)
      (True, True)

    Reference: Mishchenko & Defazio, Prodigy: an expeditiously adaptive parameter-free learner, ICML
    2024, Algorithm 4, arXiv:2306.06101.
    """
    b1, b2 = unpack_betas("prodigy", betas)
    step = prodigy_step(
        learning_rate,
        b1,
        b2,
        beta3,
        eps,
        estim_lr0,
        estim_lr_coef,
        weight_decay,
        safeguard_warmup,
        bias_correction=bias_correction,
        growth_rate=growth_rate,
        state_dtype=state_dtype,
    )
    return chain(step)
