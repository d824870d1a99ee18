"""MoMo: momentum with Polyak's step size for a model of the losses so far."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.decorators import TreeStats, leaf_rule
from ..core.numerics.moments import bias_correction as correction_of
from ..core.numerics.moments import moment
from ..core.numerics.precision import hyper_dtype, one_minus_power, safe_sqrt
from ..core.numerics.products import inner_product, sum_of_squares
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import Decay, NonNegative, StateDtype, Static
from ..core.rules.context import Slots, StepContext

__all__ = ["momo", "momo_adam"]

Array = jax.Array
Scalars = Mapping[str, Array]


def _start(lower_bound: Array) -> dict[str, Array | float]:
    return {"barf": 0.0, "gamma": 0.0, "lb": lower_bound}


def _updates_so_far(last: Scalars) -> Array:
    """Returns the number of updates, including this one."""
    return last["count"].astype(hyper_dtype()) + 1


def _step_size(
    stats: Mapping[str, Array] | None,
    last: Scalars,
    learning_rate: Array,
    lower_bound: Array,
    weight_decay: Array,
    adapt_lower_bound: bool,
) -> dict[str, Array]:
    """Computes the step size, from the mean m of gradients and the model of the loss.

    `stats` has <g, p>, <m, p> and |m|^2 in the norm of the step, as `progress`, `product` and
    `squares`; `last` has the weights `decay` and `gain` of the means, and `total`, their sum.
    """
    carried = {k: last[k] for k in ("barf", "gamma", "lb")}
    if stats is None:
        return carried | {"step_size": jnp.zeros_like(last["lb"]), "lower_bound": last["lb"]}
    progress, product, squares = (jnp.sum(stats[k]) for k in ("progress", "product", "squares"))
    barf = last["decay"] * last["barf"] + last["gain"] * last["value"]
    gamma = last["decay"] * last["gamma"] + last["gain"] * progress
    growth, total, lb = 1 + learning_rate * weight_decay, last["total"], last["lb"]
    if adapt_lower_bound:
        # Where the model of the loss is below the bound, the bound is too high, and decreases.
        cap = growth * (barf - gamma) + product
        lower = jnp.maximum(cap / (2 * growth * total), lower_bound)
        lb = jnp.where(cap < growth * total * lb, lower, lb)
    # Both operands of a select are computed, so the divisor must not be 0 in either.
    is_positive = squares > 0
    gap = jnp.maximum(growth * (barf - total * lb - gamma) + product, 0.0)
    polyak = jnp.where(is_positive, gap / jnp.where(is_positive, squares, 1.0), 0.0)
    step = jnp.minimum(learning_rate / total, polyak)
    if adapt_lower_bound:
        # step |m|^2, of which the second factor may overflow.
        taken = jnp.minimum(learning_rate / total * squares, gap)
        lb = jnp.maximum((barf + product - gamma - taken / 2) / total, lower_bound)
    return {"barf": barf, "gamma": gamma, "lb": lb, "step_size": step, "lower_bound": lb}


def _products(g: Array, p: Array, m: Array, squares: Array) -> dict[str, Array]:
    """Returns the parts of a leaf in the sums that `_step_size` reads."""
    return {"progress": inner_product(g, p), "product": inner_product(m, p), "squares": squares}


def _momo_weights(
    last: Scalars, beta: Array, bias_correction: bool, **_: object
) -> dict[str, Array]:
    """Computes the weights of the means, which start at the first values, or are corrected."""
    if bias_correction:
        total = one_minus_power(beta, _updates_so_far(last))
        return {"decay": beta, "gain": 1 - beta, "total": total}
    decay = jnp.where(last["count"] == 0, 0.0, beta)
    return {"decay": decay, "gain": 1 - decay, "total": jnp.ones_like(beta)}


def _momo_measure(
    g: Array, slots: Slots, p: Array, ctx: StepContext, **_: object
) -> dict[str, Array]:
    m = moment(slots.mu, g, ctx.decay, ctx.gain)
    return _products(g, p, m, sum_of_squares(m))


def _combine(
    stats: Mapping[str, Array] | None,
    last: Scalars,
    learning_rate: Array,
    lower_bound: Array,
    weight_decay: Array,
    adapt_lower_bound: bool,
    divide: bool = True,
    **_: object,
) -> dict[str, Array]:
    """Computes the step size, the bound, and the weights of p and m in the update."""
    scalars = _step_size(stats, last, learning_rate, lower_bound, weight_decay, adapt_lower_bound)
    k, step = learning_rate * weight_decay, scalars["step_size"]
    if divide:  # the update is (p - step m) / (1 + k) - p
        return scalars | {"minus_decay": -k / (1 + k), "minus_step": -step / (1 + k)}
    return scalars | {"minus_decay": -k, "minus_step": -step}


@leaf_rule(
    slots=lambda p: {"mu": jnp.zeros_like(p)},
    tree_stats=TreeStats(
        prepare=_momo_weights,
        measure=_momo_measure,
        combine=_combine,
        start=_start,
        metrics=("step_size", "lower_bound"),
    ),
    needs=("params", "value"),
)
def momo(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative = 1.0,
    beta: Decay = 0.9,
    lower_bound: Hyperparameter = 0.0,
    weight_decay: NonNegative = 0.0,
    adapt_lower_bound: Static[bool] = False,
    *,
    bias_correction: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """MoMo: momentum with Polyak's step size for a mean of the linear models so far.

    For each parameter of shape `*p`, with products and norms `()` over all parameters, means that
    start at their first values, k = learning_rate weight_decay, and `value` `()`, the loss at the
    parameters, which is passed to `update`:

        m      <- beta m + (1 - beta) g
        barf   <- beta barf + (1 - beta) value
        gamma  <- beta gamma + (1 - beta) <g, p>
        tau     = max((1 + k)(barf - lower_bound - gamma) + <m, p>, 0) / |m|^2
        p      <- (p - min(learning_rate, tau) m) / (1 + k)

    tau is the step at which the model reaches lower_bound, which should be the minimum of the loss;
    learning_rate is the largest step. The state keeps m as `mu`, of shape `*p`, and `barf`, `gamma`
    and the bound `lb` `()`, in float32 whatever the dtype of the parameters; `metrics` has the
    factor of m as `step_size`, and `lower_bound`. `learning_rate` is in units of p per unit of g,
    `lower_bound` in units of the loss. If m is 0, tau is 0.

    Args:
      learning_rate: the largest step, in units of p per unit of g.
      beta: decay of the means, in [0, 1).
      lower_bound: a lower bound of the loss, as close to the minimum as is known; in its units. 0
        for most losses.
      weight_decay: factor of the decay, which is multiplied by learning_rate.
      adapt_lower_bound: whether the bound is estimated from the losses, and lower_bound is the
        least estimate; the authors' `use_fstar`.
      bias_correction: whether the means start at 0, and are corrected as in Adam: the bound and
        learning_rate are replaced by (1 - beta^t) bound and learning_rate / (1 - beta^t).
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: with weight decay, optax does not divide the step by 1 + k, unlike the paper and
    the authors' code; it takes no step where |m|^2 < 2.2e-16; it has no bias_correction, and keeps
    its scalars in the dtype of the parameters.

    Raises:
      ValueError: an argument outside its interval, or `update` is called without params or value.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.momo(), {"w": 2.0}
      >>> updates, state = tx.update({"w": 4.0}, tx.init(params), params, value=4.0)
      >>> fo.apply_updates(params, updates), float(state.step_size)
      ({'w': Array(1., dtype=float32)}, 0.25)

    Reference: Schaipp, Ohana, Eickenberg, Defazio & Gower, MoMo: momentum models for adaptive
    learning rates, ICML 2024, Algorithms 1 and 3, arXiv:2305.07583.
    """
    del learning_rate, beta, lower_bound, weight_decay, adapt_lower_bound, bias_correction
    del state_dtype
    m = moment(slots.mu, g, ctx.decay, ctx.gain)
    return ctx.minus_decay * p + ctx.minus_step * m, {"mu": m}


def _adam_weights(last: Scalars, b1: Array, b2: Array, **_: object) -> dict[str, Array]:
    """Computes the weights of the means, and their bias corrections."""
    t = _updates_so_far(last)
    return {
        "decay": b1,
        "gain": 1 - b1,
        "total": one_minus_power(b1, t),
        "nu_gain": 1 - b2,
        "nu_correction": correction_of(b2, t),
    }


def _moments(
    g: Array, slots: Slots, ctx: StepContext, b2: Array, eps: Array
) -> tuple[Array, Array, Array]:
    """Returns the mean of gradients, the mean of their squares, and the divisor of the first."""
    m = moment(slots.mu, g, ctx.decay, ctx.gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    return m, nu, eps + safe_sqrt(ctx.nu_correction * nu)


def _adam_measure(
    g: Array, slots: Slots, p: Array, ctx: StepContext, b2: Array, eps: Array, **_: object
) -> dict[str, Array]:
    m, _nu, scale = _moments(g, slots, ctx, b2, eps)
    return _products(g, p, m, jnp.sum(jnp.square(m) / scale))


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")},
    tree_stats=TreeStats(
        prepare=_adam_weights,
        measure=_adam_measure,
        combine=_combine,
        start=_start,
        metrics=("step_size", "lower_bound"),
    ),
    needs=("params", "value"),
)
def momo_adam(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative = 1e-2,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    lower_bound: Hyperparameter = 0.0,
    weight_decay: NonNegative = 0.0,
    adapt_lower_bound: Static[bool] = False,
    *,
    divide: Static[bool] = True,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """MoMo-Adam: Adam with Polyak's step size for a mean of the linear models so far.

    For each parameter of shape `*p` and update number t = 1, 2, ..., with products `()` over all
    parameters, means that start at 0, c = 1 - b1^t, and k, barf and gamma as in `momo`:

        m      <- b1 m + (1 - b1) g
        v      <- b2 v + (1 - b2) g^2,        D = sqrt(v / (1 - b2^t)) + eps
        tau     = max((1 + k)(barf - c lower_bound - gamma) + <m, p>, 0) / <m, m / D>
        p      <- (p - min(learning_rate / c, tau) m / D) / (1 + k)

    The state keeps m and v as `mu` and `nu`, of shape `*p`. `learning_rate` is in units of p, `eps`
    in units of g.

    Args:
      learning_rate: the largest step, in units of p.
      b1: decay of m, barf and gamma, in [0, 1).
      b2: decay of v, in [0, 1).
      eps: added to the root; in units of g.
      divide: whether to divide by 1 + k; otherwise p is multiplied by 1 - k before the step, as in
        AdamW.
      See `momo` for the others.

    Differences: see `momo`; optax has no argument divide.

    Raises:
      ValueError: an argument outside its interval, or `update` is called without params or value.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.momo_adam(2.0), {"w": 2.0}
      >>> updates, state = tx.update({"w": 4.0}, tx.init(params), params, value=4.0)
      >>> print(f"{fo.apply_updates(params, updates)['w']:.3f}")
      1.000

    Reference: Schaipp, Ohana, Eickenberg, Defazio & Gower, MoMo: momentum models for adaptive
    learning rates, ICML 2024, Algorithm 2, arXiv:2305.07583.
    """
    del learning_rate, b1, lower_bound, weight_decay, adapt_lower_bound, divide, state_dtype
    m, nu, scale = _moments(g, slots, ctx, b2, eps)
    return ctx.minus_decay * p + ctx.minus_step * (m / scale), {"mu": m, "nu": nu}
