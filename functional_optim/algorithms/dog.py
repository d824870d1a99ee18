"""Distance over gradients: step sizes from the distance to the initial parameters."""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import TreeStats, leaf_rule
from ..core.numerics.precision import safe_sqrt
from ..core.numerics.products import sum_of_squares
from ..core.numerics.validation import as_state
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import (
    InitOnly,
    NonNegative,
    Optional_,
    Positive,
    SlotDtype,
    StateDtype,
    Static,
    Within,
)
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import leaf_norm
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = [
    "dog",
    "dowg",
    "ldog",
    "scale_by_distance_over_gradients",
    "scale_by_dog",
    "scale_by_dowg",
]

Array = jax.Array


def _slots(p: Array, reps_rel: Array) -> dict[str, Array]:
    start = reps_rel * (1 + leaf_norm(p))
    return {"max_dist": start, "grad_sum_of_squares": jnp.zeros_like(start), "init_params": p}


@leaf_rule(slots=_slots, needs=("params",), split_complex=False)
def scale_by_distance_over_gradients(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    reps_rel: Annotated[float, Within("[0, inf)"), InitOnly] = 1e-6,
    eps: NonNegative = 1e-8,
    param_dtype: Annotated[DTypeLike | None, SlotDtype("init_params")] = jnp.float32,
    global_scale: Hyperparameter = 1.0,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Scales each parameter's updates by the distance it has moved over the norm of its updates.

    For one parameter of shape `*p` that started at p0, with norms `()` of whole arrays:

        max_dist            <- max(max_dist, |p - p0|),    reps_rel (1 + |p0|) at the start
        grad_sum_of_squares <- grad_sum_of_squares + |g|^2
        u = global_scale max_dist / sqrt(grad_sum_of_squares + eps) g

    The state keeps both and p0, as `init_params`. `reps_rel` and `global_scale` `()` have no
    unit; `eps` `()` is in units of g^2; u is in units of p. Evaluate at an average of the
    parameters, as the authors do.

    Args:
      reps_rel: the first distance, as a multiple of 1 + |p0|.
      eps: added to the sum of squares; in units of g^2.
      param_dtype: dtype of p0; None for the dtype of the computation.
      global_scale: factor of u.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Raises:
      ValueError: reps_rel or eps negative, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_distance_over_gradients(1e-2, 0.0), {"w": jnp.array([3.0, 4.0])}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, 5.0])}, tx.init(params), params)
      >>> print(updates["w"])
      [0.   0.06]

    Reference: Ivgi, Hinder & Carmon, DoG is SGD's best friend, ICML 2023, section 3.4 (L-DoG),
    arXiv:2302.12022.
    """
    del ctx, reps_rel, param_dtype, state_dtype
    # Scaled norms would not help where squares overflow: the accumulated sum overflows as well.
    moved = safe_sqrt(_sum_of_squares(p - slots.init_params))
    max_dist = jnp.maximum(jnp.real(slots.max_dist), moved)
    total = jnp.real(slots.grad_sum_of_squares) + _sum_of_squares(g)
    step = global_scale * max_dist / safe_sqrt(total + eps)
    new_slots = {
        "max_dist": max_dist,
        "grad_sum_of_squares": total,
        "init_params": slots.init_params,
    }
    return step.astype(g.dtype) * g, new_slots


def _sum_of_squares(x: Array) -> Array:
    return sum_of_squares(jnp.abs(x) if jnp.iscomplexobj(x) else x)


@composed
def ldog(
    learning_rate: ScalarOrSchedule = 1.0,
    reps_rel: float = 1e-6,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """L-DoG: `scale_by_distance_over_gradients`, then a step of minus the learning rate.

        p <- p - learning_rate u,    u from `scale_by_distance_over_gradients` of g + weight_decay p

    Each parameter has a separate step size. `learning_rate` `()` has no unit; leave it at 1.

    Args:
      learning_rate: factor of the step; leave it at 1.
      reps_rel: the first distance of a parameter is reps_rel (1 + |p|); 1e-4 with batch
        normalization.
      weight_decay: factor of an L2 penalty, in units of g per unit of p; None for no penalty.
      mask: which parameters decay; see `masked`.
      See `scale_by_distance_over_gradients` for the others.

    Differences: none from the authors' code. optax only has the transformation.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.ldog(reps_rel=1e-2, eps=0.0), {"w": jnp.array([3.0, 4.0])}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, 5.0])}, tx.init(params), params)
      >>> print(updates["w"])
      [-0.   -0.06]

    Reference: Ivgi, Hinder & Carmon, DoG is SGD's best friend, ICML 2023, section 3.4 (L-DoG),
    arXiv:2302.12022.
    """
    return _optimizer(
        scale_by_distance_over_gradients(reps_rel, eps, None, state_dtype=state_dtype),
        learning_rate,
        weight_decay,
        mask,
    )


def _optimizer(
    direction: GradientTransformation,
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule | None,
    mask: MaskOrFn,
) -> GradientTransformation:
    """Puts weight decay before a direction, and the learning rate after it."""
    decay = [] if weight_decay is None else [add_decayed_weights(weight_decay, mask)]
    return chain(*decay, direction, scale_by_learning_rate(learning_rate))


def _measure(g: Array, slots: Slots, p: Array, ctx: StepContext, **_: object) -> dict[str, Array]:
    return {
        "moved": sum_of_squares(p - slots.init_params),
        "squares": sum_of_squares(g),
    }


def _totals(stats: Mapping[str, Array] | None) -> tuple[Array | float, Array | float]:
    """Returns the squared distance to the start and the squared gradient norm of all parameters."""
    return (0.0, 0.0) if stats is None else (jnp.sum(stats["moved"]), jnp.sum(stats["squares"]))


def _dog_start(params: list[Array], init_value: Array, init_kind: str) -> dict[str, Array | float]:
    """Computes the initial distance, which is 0 if init_value is the first step size instead."""
    start: Array | float = 0.0 if init_kind == "learning_rate" else init_value
    if init_kind == "heuristic":
        squares = [as_state(_sum_of_squares(p)) for p in params]
        start = init_value * (1 + safe_sqrt(sum(squares, start=as_state(0.0))))
    return {"max_dist": start, "sum_sq_norm_grads": 0.0}


def _is_first(last: Mapping[str, Array], **_: object) -> dict[str, Array]:
    return {"is_first": jnp.where(last["count"] == 0, 1.0, 0.0)}


def _dog_combine(
    stats: Mapping[str, Array] | None,
    last: Mapping[str, Array],
    init_value: Array,
    init_kind: str,
    eps: Array,
    **_: object,
) -> dict[str, Array]:
    """Computes the distance, the sum of squares, and the step size."""
    moved, squares = _totals(stats)
    max_dist = jnp.maximum(last["max_dist"], safe_sqrt(as_state(moved)))
    total = last["sum_sq_norm_grads"] + squares
    is_positive = total + eps > 0
    step = max_dist / jnp.sqrt(jnp.where(is_positive, total + eps, 1.0))
    step = jnp.where(is_positive, step, 0.0)
    if init_kind == "learning_rate":
        step = jnp.where(last["is_first"] > 0, init_value, step)
    carried = {"max_dist": max_dist, "sum_sq_norm_grads": total}
    return carried | {"distance": max_dist, "step_size": step}


KINDS = ("heuristic", "distance", "learning_rate")
"""The quantities that may define the first step of DoG."""


def _check_kind(options: Mapping[str, object]) -> str | None:
    if options["init_kind"] in KINDS:
        return None
    return f"init_kind must be one of {', '.join(KINDS)}, got {options['init_kind']!r}."


@leaf_rule(
    slots=lambda p: {"init_params": p},
    tree_stats=TreeStats(
        prepare=_is_first,
        measure=_measure,
        combine=_dog_combine,
        start=_dog_start,
        metrics=("distance", "step_size"),
    ),
    needs=("params",),
    check=_check_kind,
)
def scale_by_dog(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    init_value: Positive = 1e-6,
    eps: NonNegative = 1e-8,
    *,
    init_kind: Static[str] = "heuristic",
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Scales updates by the distance that all parameters have moved, over the norm of all updates.

    For each parameter of shape `*p`, with norms `()` over all parameters, which started at p0:

        max_dist          <- max(max_dist, |p - p0|)
        sum_sq_norm_grads <- sum_sq_norm_grads + |g|^2
        u = max_dist / sqrt(sum_sq_norm_grads + eps) g

    The state keeps both `()`, in float32 whatever the dtype of the parameters, and p0 as
    `init_params`, of shape `*p`; `metrics` has max_dist as `distance`, and the factor of g as
    `step_size`. `eps` `()` is in units of g^2; u is in units of p. The authors evaluate at an
    average of the parameters, which `params_ema` and `params_swa` compute.

    Args:
      init_value: determines the first step; init_kind chooses its meaning and its unit.
      eps: added to the sum of squares; in units of g^2.
      init_kind: the meaning of `init_value`: with `"heuristic"`, max_dist is init_value (1 + |p0|)
        at the start; with `"distance"`, it is init_value; with `"learning_rate"`, it is 0, and
        init_value is the factor of the first g.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax keeps max_dist and sum_sq_norm_grads in the dtype of the parameters, and
    takes the kind and the value as one pair; see `dog`. If all gradients so far and eps are 0, u is
    0.

    Raises:
      ValueError: init_value not positive, eps negative, an unknown init_kind, or `update` is
        called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_dog(0.5, 0.0, init_kind="distance")
      >>> params = {"w": jnp.array([3.0, 4.0])}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, 5.0])}, tx.init(params), params)
      >>> print(updates["w"])
      [0.  0.5]

    Reference: Ivgi, Hinder & Carmon, DoG is SGD's best friend, ICML 2023, equation DoG in section
    1.1, arXiv:2302.12022.
    """
    del p, init_value, eps, init_kind, state_dtype
    return ctx.step_size * g, {"init_params": slots.init_params}


@composed(init_kind="init_step[0]", init_value="init_step[1]")
def dog(
    learning_rate: ScalarOrSchedule = 1.0,
    init_step: tuple[str, ScalarOrSchedule] = ("heuristic", 1e-6),
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """DoG: `scale_by_dog`, then a step of minus the learning rate.

        p <- p - learning_rate u,    u from `scale_by_dog` of g + weight_decay p

    `learning_rate` `()` has no unit; leave it at 1.

    Args:
      learning_rate: factor of the step; leave it at 1.
      init_step: `init_kind` and `init_value` of `scale_by_dog`; the authors use
        `("heuristic", 1e-4)` for models with batch normalization.
      weight_decay: factor of an L2 penalty, in units of g per unit of p; None for no penalty.
      mask: which parameters decay; see `masked`.
      See `scale_by_dog` for the others.

    Differences: none from the paper. With `"learning_rate"` in the authors' code, learning_rate
    does not multiply the first step.

    Raises:
      TypeError: init_step is not a pair.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.dog(init_step=("learning_rate", 0.25)), {"w": 4.0}
      >>> updates, _ = tx.update({"w": 2.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(3.5, dtype=float32)}

    Reference: Ivgi, Hinder & Carmon, DoG is SGD's best friend, ICML 2023, arXiv:2302.12022.
    """
    if not isinstance(init_step, (tuple, list)) or len(init_step) != 2:
        raise TypeError(
            f"dog: init_step must be a pair of a kind and a number, got {init_step!r}. Pass "
            "('heuristic', 1e-6)."
        )
    kind, value = init_step
    direction = scale_by_dog(value, eps, init_kind=kind, state_dtype=state_dtype)
    return _optimizer(direction, learning_rate, weight_decay, mask)


def _dowg_start(init_estim_sq_dist: Array | None, eps: Array) -> dict[str, Array | float]:
    first = eps if init_estim_sq_dist is None else init_estim_sq_dist
    return {"estim_sq_dist": first, "weighted_sq_norm_grads": 0.0}


def _dowg_combine(
    stats: Mapping[str, Array] | None, last: Mapping[str, Array], eps: Array, **_: object
) -> dict[str, Array]:
    """Computes the squared distance, the weighted sum of squares, and the step size."""
    moved, squares = _totals(stats)
    distance = jnp.maximum(last["estim_sq_dist"], moved)
    total = last["weighted_sq_norm_grads"] + distance * squares
    carried = {"estim_sq_dist": distance, "weighted_sq_norm_grads": total}
    return carried | {
        "distance": safe_sqrt(distance),
        "step_size": distance / (safe_sqrt(total) + eps),
    }


@leaf_rule(
    slots=lambda p: {"init_params": p},
    tree_stats=TreeStats(
        measure=_measure,
        combine=_dowg_combine,
        start=_dowg_start,
        metrics=("distance", "step_size"),
    ),
    needs=("params",),
)
def scale_by_dowg(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    init_estim_sq_dist: Annotated[Hyperparameter | None, Within("(0, inf)"), Optional_] = None,
    eps: Positive = 1e-4,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Scales updates by the squared distance moved, over the norm of distance-weighted updates.

    For each parameter of shape `*p`, with norms `()` over all parameters, which started at p0:

        estim_sq_dist          <- max(estim_sq_dist, |p - p0|^2)
        weighted_sq_norm_grads <- weighted_sq_norm_grads + estim_sq_dist |g|^2
        u = estim_sq_dist / (sqrt(weighted_sq_norm_grads) + eps) g

    The state keeps both `()`, in float32 whatever the dtype of the parameters, and p0 as
    `init_params`, of shape `*p`; `metrics` has the root of estim_sq_dist as `distance`, and the
    factor of g as `step_size`. estim_sq_dist is in units of p^2; u is in units of p.

    Args:
      init_estim_sq_dist: estim_sq_dist at the start; None for eps.
      eps: added to the root, above 0; estim_sq_dist starts at eps if init_estim_sq_dist is None.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper has no eps. optax keeps estim_sq_dist and weighted_sq_norm_grads in the
    dtype of the parameters.

    Raises:
      ValueError: an argument is not positive, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_dowg(0.25), {"w": jnp.array([3.0, 4.0])}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, 5.0])}, tx.init(params), params)
      >>> print(updates["w"].round(3))
      [0.  0.5]

    Reference: Khaled, Mishchenko & Jin, DoWG unleashed: an efficient universal parameter-free
    gradient descent method, NeurIPS 2023, Algorithm 1, arXiv:2305.16284.
    """
    del p, init_estim_sq_dist, eps, state_dtype
    return ctx.step_size * g, {"init_params": slots.init_params}


@composed
def dowg(
    learning_rate: ScalarOrSchedule = 1.0,
    init_estim_sq_dist: ScalarOrSchedule | None = None,
    eps: ScalarOrSchedule = 1e-4,
    weight_decay: ScalarOrSchedule | None = None,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """DoWG: `scale_by_dowg`, then a step of minus the learning rate.

        p <- p - learning_rate u,    u from `scale_by_dowg` of g + weight_decay p

    `learning_rate` `()` has no unit; leave it at 1.

    Args:
      learning_rate: factor of the step; leave it at 1.
      weight_decay: factor of an L2 penalty, in units of g per unit of p; None for no penalty.
      mask: which parameters decay; see `masked`.
      See `scale_by_dowg` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.dowg(init_estim_sq_dist=0.25), {"w": 4.0}
      >>> updates, _ = tx.update({"w": 2.0}, tx.init(params), params)
      >>> print(f"{fo.apply_updates(params, updates)['w']:.3f}")
      3.500

    Reference: Khaled, Mishchenko & Jin, DoWG unleashed: an efficient universal parameter-free
    gradient descent method, NeurIPS 2023, Algorithm 1, arXiv:2305.16284.
    """
    direction = scale_by_dowg(init_estim_sq_dist, eps, state_dtype=state_dtype)
    return _optimizer(direction, learning_rate, weight_decay, mask)
