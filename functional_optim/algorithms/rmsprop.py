"""RMSprop: gradients over their running root mean square."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import MeanWeights, running_mean
from ..core.precision import one_minus_power, safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule, renamed
from ..transforms.momentum import trace
from ..transforms.recipe import optimizer

__all__ = ["rmsprop", "scale_by_rms"]

Array = jax.Array


def _slots(p: Array, initial_scale: Any, centered: bool) -> dict[str, Array]:
    nu = jnp.full_like(p, initial_scale)
    return {"nu": nu, "mu": jnp.zeros_like(p)} if centered else {"nu": nu}


def _clock(
    t: Array, last: Mapping[str, Array], decay: Array, bias_correction: bool, **_: Any
) -> tuple[dict[str, Any], dict[str, Array]]:
    return ({"total": one_minus_power(decay, t)} if bias_correction else {}), {}


@leaf_rule(
    slots=_slots,
    clock=_clock,
    initial=("initial_scale",),
    static=("eps_in_sqrt", "bias_correction", "centered"),
    bounds={"decay": "[0, 1]", "eps": "[0, inf)", "initial_scale": "[0, inf)"},
)
def scale_by_rms(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    decay: Hyperparameter = 0.9,
    eps: Hyperparameter = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
    *,
    centered: bool = False,
) -> tuple[Array, Mapping[str, Array]]:
    """Divides updates by their running root mean square, or standard deviation.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        nu <- decay nu + (1 - decay) g^2,    nu = initial_scale at the start
        mu <- decay mu + (1 - decay) g       with centered
        s   = nu, or max(nu - mu^2, 0) with centered
        u   = g / sqrt(s + eps), or g / (sqrt(s) + eps) without eps_in_sqrt

    With bias_correction, nu and mu are divided by 1 - decay^t where s reads them. The state
    keeps nu and mu as above, of shape `*p`. `decay` `()` has no unit; `eps` is in units of
    g^2, or of g without eps_in_sqrt; u has no unit.

    Differences: torch has eps outside the root (`eps_in_sqrt=False`) and decay 0.99; its
    centred variance may come out negative by rounding, and NaN, where ours is 0. optax calls
    the centred form `scale_by_stddev`.

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
    del p, initial_scale
    weights = MeanWeights(drift=0.0, gain=1 - decay)
    kept = {"nu": running_mean(slots.nu, jnp.square(g), weights)}
    total = now.total if bias_correction else 1.0
    s = kept["nu"] / total
    if centered:
        kept["mu"] = running_mean(slots.mu, g, weights)
        s = jnp.maximum(s - jnp.square(kept["mu"] / total), 0.0)
    return g / (safe_sqrt(s + eps) if eps_in_sqrt else safe_sqrt(s) + eps), kept


@optimizer(
    scale_by_rms,
    renamed(trace, decay="momentum"),
    defaults={"momentum": None},
    order=("decay", "eps", "initial_scale", "eps_in_sqrt", "centered", "momentum", "nesterov"),
)
def rmsprop() -> None:
    """RMSprop: `scale_by_rms`, momentum where it is given, then a step of minus the learning rate.

        b <- momentum b + u,    u from `scale_by_rms`
        p <- p - learning_rate b

    `learning_rate` `()` is in units of p. Without `momentum` no trace is kept.

    Differences: the learning rate multiplies the trace, as in torch; in optax it multiplies
    u, which differs while the learning rate changes. torch's defaults are lr=0.01, decay
    (there alpha) 0.99, and eps outside the root.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.rmsprop(0.1, decay=0.75, momentum=0.9)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 2.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(0.8, dtype=float32)}

    Reference: Tieleman & Hinton, Lecture 6.5, Neural Networks for Machine Learning, 2012.
    """
