"""Adafactor: a factored second moment, and steps relative to the parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rule import leaf_rule, renamed
from ..transforms.blocks import clip_by_block_rms, scale_by_param_block_rms
from ..transforms.masking import maskable
from ..transforms.momentum import ema
from ..transforms.recipe import optimizer
from ..transforms.scaling import scale, scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .factored_rms import scale_by_factored_rms

__all__ = ["adafactor", "scale_by_relative_step"]

Array = jax.Array


def _clock(
    t: Array, last: Mapping[str, Array], max_step: Array, warmup_step: Array | None, **_: Any
) -> tuple[dict[str, Array], dict[str, Array]]:
    step = jnp.minimum(max_step, jax.lax.rsqrt(t))
    return {"step": step if warmup_step is None else jnp.minimum(step, warmup_step * t)}, {}


@leaf_rule(
    clock=_clock,
    requires=("params",),
    optional=("warmup_step",),
    bounds={"max_step": "[0, inf)", "warmup_step": "[0, inf)", "weight_decay": "[0, inf)"},
)
def scale_by_relative_step(
    g: Array,
    slots: Any,
    p: Array,
    now: Any,
    max_step: Hyperparameter = 1e-2,
    warmup_step: Hyperparameter | None = None,
    *,
    weight_decay: Hyperparameter = 0.0,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies updates by the step size of Adafactor, which falls as 1 / sqrt(t).

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        u = min(max_step, warmup_step t, 1 / sqrt(t)) g + max_step weight_decay p

    `max_step` and `warmup_step` `()` have the unit of u per unit of g; without `warmup_step`
    there is no warmup. `weight_decay` `()` is torch's, whose decay does not follow the fall.

    Raises:
      ValueError: a number is negative, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_relative_step(1.0)
      >>> params = {"w": 0.0}
      >>> state = tx.init(params)
      >>> for _ in range(4):
      ...     updates, state = tx.update({"w": 1.0}, state, params)
      >>> updates
      {'w': Array(0.5, dtype=float32)}

    Reference: Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost,
    ICML 2018, section 8 and Algorithm 6, arXiv:1804.04235.
    """
    del slots, warmup_step
    return now.step * g + max_step * weight_decay * p, {}


def _clipped(clipping_threshold: Hyperparameter | None = 1.0) -> GradientTransformation:
    link = renamed(clip_by_block_rms, threshold="clipping_threshold")
    return chain() if clipping_threshold is None else link(clipping_threshold)


def _stepped(
    learning_rate: Hyperparameter | None = None,
    multiply_by_parameter_scale: bool = True,
    *,
    warmup_step: Hyperparameter | None = None,
) -> GradientTransformation:
    if learning_rate is None:
        step = scale_by_relative_step(warmup_step=warmup_step)
    elif warmup_step is not None:
        raise ValueError(
            f"adafactor: warmup_step={warmup_step!r} needs learning_rate=None, got "
            f"{learning_rate!r}. Pass a schedule that warms up as learning_rate."
        )
    else:
        step = scale_by_learning_rate(learning_rate, flip_sign=False)
    return chain(step, scale_by_param_block_rms()) if multiply_by_parameter_scale else step


def _averaged(
    momentum: Hyperparameter | None = None, dtype_momentum: Any = None
) -> GradientTransformation:
    if momentum is not None:
        link = renamed(ema, decay="momentum", accumulator_dtype="dtype_momentum")
        return link(momentum, debias=False, dtype_momentum=dtype_momentum)
    if dtype_momentum is not None:
        raise ValueError(
            f"adafactor: dtype_momentum={dtype_momentum!r} needs momentum, got None. "
            "Pass a decay, such as 0.9."
        )
    return chain()


def _decayed(
    weight_decay_rate: Hyperparameter | None = None, weight_decay_mask: Any = None
) -> GradientTransformation:
    if weight_decay_rate is None:
        return chain()
    link = maskable(renamed(add_decayed_weights, weight_decay="weight_decay_rate"))
    return link(weight_decay_rate, mask=weight_decay_mask)


@optimizer(
    renamed(scale_by_factored_rms, step_offset="decay_offset", epsilon="eps"),
    _clipped,
    _stepped,
    _averaged,
    _decayed,
    defaults={"learning_rate": None},
    order=(
        "min_dim_size_to_factor",
        "decay_rate",
        "decay_offset",
        "multiply_by_parameter_scale",
        "clipping_threshold",
        "momentum",
        "dtype_momentum",
        "weight_decay_rate",
        "eps",
        "factored",
        "weight_decay_mask",
    ),
    last=lambda learning_rate: scale(-1.0),
)
def adafactor() -> None:
    """Adafactor: `scale_by_factored_rms`, clipped, in steps relative to the parameters.

    For one parameter of shape `*p`:

        d <- clip_by_block_rms(u),                    u from `scale_by_factored_rms`
        s <- max(1e-3, rms(p)) learning_rate d        without the scale, learning_rate d
        b <- momentum b + (1 - momentum) s            where momentum is given
        p <- p - b - weight_decay_rate p

    Without `learning_rate` its place is taken by the authors' relative step, at the
    parameter's update t = 1, 2, ...: min(1e-2, 1 / sqrt(t)), or min(1e-2, warmup_step t,
    1 / sqrt(t)); they warm up with warmup_step 1e-6. `learning_rate` `()` then has no unit,
    since the step is in units of p already; without multiply_by_parameter_scale it is in
    units of p. `weight_decay_rate` is not multiplied by it.

    Args:
      momentum: decay of a mean of the steps; None keeps none.
      dtype_momentum: dtype in which that mean is kept.
      weight_decay_mask: where to decay: tree of booleans or function of the parameters, see
        `masked`.

    Differences: with `learning_rate=None` optax multiplies by the parameter's scale alone, so
    that a step is as large as the parameter; here and in the authors' code (and T5's) it is
    the relative step. The numbers are otherwise optax's; the authors' factor is
    `dims="last", min_dim_size_to_factor=1`. fairseq multiplies the decay by the step, and,
    without a relative step, multiplies the scale into the learning rate anew at each step.

    Raises:
      ValueError: a number out of its range; warmup_step beside a learning_rate, or
        dtype_momentum without momentum.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adafactor(min_dim_size_to_factor=2)
      >>> params = {"w": jnp.ones((2, 2))}
      >>> updates, _ = tx.update({"w": jnp.full((2, 2), 5.0)}, tx.init(params), params)
      >>> [round(float(u), 6) for u in updates["w"].ravel()]
      [-0.01, -0.01, -0.01, -0.01]

    Reference: Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost,
    ICML 2018, Algorithms 4 to 6, arXiv:1804.04235.
    """
