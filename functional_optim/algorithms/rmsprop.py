"""RMSprop: gradients divided by their running root mean square."""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule, renamed
from ..core.numerics import moments
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Fraction, InitOnly, NonNegative, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.momentum import trace
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["rmsprop", "scale_by_rms", "scale_by_stddev"]

Array = jax.Array


def _slots(p: Array, initial_scale: Array, centered: bool) -> dict[str, Array]:
    nu = jnp.full_like(p, initial_scale)
    return {"nu": nu, "mu": jnp.zeros_like(p)} if centered else {"nu": nu}


def _step_scalars(t: Array, decay: Array, bias_correction: bool) -> dict[str, Array]:
    """Computes the weight of the new update, and the bias correction."""
    gain = {"gain": 1 - decay}
    correction = {"correction": moments.bias_correction(decay, t)} if bias_correction else {}
    return gain | correction


@leaf_rule(slots=_slots, step_scalars=_step_scalars)
def scale_by_rms(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    decay: Fraction = 0.9,
    eps: NonNegative = 1e-8,
    initial_scale: Annotated[float, Within("[0, inf)"), InitOnly] = 0.0,
    eps_in_sqrt: Static[bool] = True,
    bias_correction: Static[bool] = False,
    *,
    centered: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, Mapping[str, Array]]:
    """Divides updates by their running root mean square, or standard deviation.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        nu <- decay nu + (1 - decay) g^2,    nu = initial_scale at the start
        mu <- decay mu + (1 - decay) g       with centered
        s   = nu, or max(nu - mu^2, 0) with centered
        u   = g / sqrt(s + eps), or g / (sqrt(s) + eps) without eps_in_sqrt

    With bias_correction, nu and mu are divided by 1 - decay^t in s. The state keeps nu and mu as
    above, of shape `*p`. `decay` `()` has no unit; `eps` is in units of g^2, or of g without
    eps_in_sqrt; u has no unit.

    Args:
      decay: decay of nu and of mu, in [0, 1].
      eps: bounds u where s is small; see eps_in_sqrt for its place and its unit.
      initial_scale: nu at the start, in units of g^2.
      eps_in_sqrt: whether eps is added to s, in units of g^2, or to its root, in units of g.
      bias_correction: whether to divide nu and mu by 1 - decay^t in s.
      centered: whether to subtract the square of the mean, so that s is the variance.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: torch has eps outside the root (`eps_in_sqrt=False`) and decay 0.99; where
    rounding makes the centred variance negative, torch gives NaN, and here the variance is 0. The
    centred rule is `scale_by_stddev` in optax.

    Raises:
      ValueError: decay outside [0, 1], eps or initial_scale negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_rms(decay=0.75)
      >>> tx.update({"w": 3.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(2., dtype=float32)}

    Reference: Tieleman & Hinton, Lecture 6.5, Neural Networks for Machine Learning, 2012;
    centred: Graves, Generating Sequences With Recurrent Neural Networks, 2013, equations 38
    to 41, arXiv:1308.0850.
    """
    del p, initial_scale, state_dtype
    nu = moments.moment(slots.nu, jnp.square(g), decay, ctx.gain)
    new_slots = {"nu": nu}
    s = ctx.correction * nu if bias_correction else nu
    if centered:
        mu = new_slots["mu"] = moments.moment(slots.mu, g, decay, ctx.gain)
        mean = ctx.correction * mu if bias_correction else mu
        # If nu and mu^2 both overflow, inf - inf is NaN; with a finite mu^2, s is infinite.
        square = jnp.minimum(jnp.square(mean), float(jnp.finfo(mean.dtype).max))
        s = jnp.maximum(s - square, 0.0)
    return g / (safe_sqrt(eps + s) if eps_in_sqrt else eps + safe_sqrt(s)), new_slots


@composed
def scale_by_stddev(
    decay: ScalarOrSchedule = 0.9,
    eps: ScalarOrSchedule = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Divides updates by their running standard deviation: `scale_by_rms` with `centered=True`.

    Args:
      See `scale_by_rms`.

    Differences: optax gives NaN where rounding makes the variance negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_stddev(decay=0.5, eps=0.0)
      >>> tx.update({"w": 3.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(2., dtype=float32)}

    Reference: Graves, Generating Sequences With Recurrent Neural Networks, 2013, equations 38
    to 41, arXiv:1308.0850.
    """
    return scale_by_rms(
        decay,
        eps,
        initial_scale,
        eps_in_sqrt,
        bias_correction,
        centered=True,
        state_dtype=state_dtype,
    )


_momentum = renamed(trace, decay="momentum")


@composed
def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: ScalarOrSchedule = 0.9,
    eps: ScalarOrSchedule = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: ScalarOrSchedule | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
    accumulator_dtype: DTypeLike | None = None,
    *,
    state_dtype: StateDtype = None,
    dampening: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """RMSprop: `scale_by_rms`, optional momentum, then a step of minus the learning rate.

        b <- momentum b + u,    u from `scale_by_rms`
        p <- p - learning_rate b

    `learning_rate` `()` is in units of p. Without `momentum`, b is u.

    Args:
      momentum: decay of b; None for no momentum.
      nesterov: whether the step is u + momentum b, as in `sgd`; needs momentum.
      accumulator_dtype: dtype of b.
      dampening: share of u that does not enter b, see `trace`.
      See `scale_by_rms` and `scale_by_learning_rate` for the others.

    Differences: the learning rate multiplies b, as in torch; in optax it multiplies u, which
    differs while the learning rate changes. torch's defaults are lr=0.01, decay=0.99 (torch
    calls it alpha), and eps outside the root.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.rmsprop(0.1, decay=0.75, momentum=0.9)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 2.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(0.8, dtype=float32)}

    Reference: Tieleman & Hinton, Lecture 6.5, Neural Networks for Machine Learning, 2012.
    """
    return chain(
        scale_by_rms(
            decay,
            eps,
            initial_scale,
            eps_in_sqrt,
            bias_correction,
            centered=centered,
            state_dtype=state_dtype,
        ),
        _momentum(
            momentum, nesterov, accumulator_dtype, dampening=dampening, state_dtype=state_dtype
        ),
        scale_by_learning_rate(learning_rate),
    )
