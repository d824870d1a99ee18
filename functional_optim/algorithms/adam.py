"""Adam, and AdamW: adaptive moment estimation, with coupled and decoupled weight decay."""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import adam_scalars, bias_root, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import (
    Decay,
    NonNegative,
    Optional_,
    SlotDtype,
    StateDtype,
    Static,
    Within,
)
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adam", "adamw", "scale_by_adam"]

Array = jax.Array


def _slots(p: Array, amsgrad: bool) -> dict[str, Array]:
    names = ("mu", "nu", "nu_max") if amsgrad else ("mu", "nu")
    return {k: jnp.zeros_like(p) for k in names}


def _carry(momentum_decay: Array | None) -> dict[str, float]:
    """Starts the product of the momenta at 1, the empty product."""
    return {} if momentum_decay is None else {"mu_product": 1.0}


def _step_scalars(
    t: Array,
    b1: Array,
    b2: Array,
    eps: Array,
    eps_root: Array,
    nesterov: bool,
    momentum_decay: Array | None,
    mu_product: Array | None = None,
) -> dict[str, Array]:
    """Computes the scalars of update number t."""
    scalars = adam_scalars(t, b1, b2, eps, eps_root, nesterov)
    if momentum_decay is None or mu_product is None:
        return scalars
    return scalars | _scheduled_look_ahead(t, b1, b2, momentum_decay, mu_product)


def _scheduled_look_ahead(
    t: Array, b1: Array, b2: Array, momentum_decay: Array, mu_product: Array
) -> dict[str, Array]:
    """Computes the weights of m and g for Dozat's schedule of b1, and the product of its values."""
    present, following = (b1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
    product = mu_product * present
    root = bias_root(b2, t)
    return {
        "ahead_mean": root * (following / (1 - product * following)),
        "ahead_gain": root * ((1 - present) / (1 - product)),
        "mu_product": product,
    }


def _check(options: Mapping[str, object]) -> str | None:
    if options["momentum_decay"] is None or options["nesterov"]:
        return None
    return (
        f"momentum_decay must be None without nesterov, got {options['momentum_decay']!r}. "
        "Pass nesterov=True as well."
    )


@leaf_rule(slots=_slots, step_scalars=_step_scalars, carry=_carry, check=_check)
def scale_by_adam(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    nesterov: Static[bool] = False,
    amsgrad: Static[bool] = False,
    momentum_decay: Annotated[Hyperparameter | None, Within("[0, inf)"), Optional_] = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by their running root mean square.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        u  = m / (1 - b1^t) / (sqrt(v / (1 - b2^t) + eps_root) + eps)

    The state keeps m as `mu` and v as `nu`, each of shape `*p`, as optax and torch do. `b1`,
    `b2` `()` have no unit; `eps` `()` is in units of g and `eps_root` in units of g^2; u has no
    unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root, so that u stays bounded where v is small; in units of g.
      eps_root: added under the root, so that u has a derivative where v is 0; in units of g^2.
      mu_dtype: dtype of m.
      nesterov: whether to look ahead: in u, m / (1 - b1^t) becomes
        b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t).
      amsgrad: whether to divide by the largest v so far: the state keeps nu_max <-
        max(nu_max, v), and nu_max replaces v in u.
      momentum_decay: how fast the momentum of the look-ahead grows from b1 / 2 to b1, per update;
        0.004 in torch's NAdam, None for a constant b1. The numerator of u is then
        b(t+1) m / (1 - P(t+1)) + (1 - b(t)) g / (1 - P(t)), with P(t) = b(1) b(2) ... b(t) and
        b(t) = b1 (1 - 0.96^(t momentum_decay) / 2). m decays by b1, and the state keeps P(t).
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the paper, from torch with its defaults, and from optax with
    `eps_root`. amsgrad follows torch, which takes the maximum before the bias correction;
    `scale_by_amsgrad` takes it after the correction, as optax does, or without a correction, as
    in the paper of AMSGrad. nesterov alone follows Dozat and optax, and momentum_decay follows
    torch; in Dozat's paper, m decays by b(t) too. Complex parameters are pairs of real ones, as
    in torch; optax uses |g|^2.

    Raises:
      ValueError: b1 or b2 outside [0, 1); eps, eps_root or momentum_decay negative;
        momentum_decay without nesterov.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adam()
      >>> params = {"w": jnp.zeros(2)}
      >>> updates, state = tx.update({"w": jnp.array([10.0, -0.1])}, tx.init(params), params)
      >>> updates["w"].round(4).tolist(), state.mu["w"].round(4).tolist()
      ([1.0, -1.0], [1.0, -0.009999999776482582])

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 1, arXiv:1412.6980. Reddi, Kale & Kumar, On the Convergence of Adam and
    Beyond, ICLR 2018, Algorithm 2, arXiv:1904.09237. Dozat, Incorporating Nesterov Momentum
    into Adam, ICLR 2016 workshop.
    """
    del p, eps, eps_root, mu_dtype, momentum_decay, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    new_slots = {"mu": mu, "nu": nu}
    if amsgrad:
        nu = new_slots["nu_max"] = jnp.maximum(slots.nu_max, nu)
    mean = moment(mu, g, ctx.ahead_mean, ctx.ahead_gain) if nesterov else mu
    u = mean / (ctx.scaled_eps + safe_sqrt(ctx.scaled_eps_root + nu))
    # Multiplied last: in this order XLA compiles one loop for all leaves of a shape.
    return u if nesterov else ctx.mu_weight * u, new_slots


@composed
def adam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    amsgrad: bool = False,
    momentum_decay: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Adam: `scale_by_adam`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p: no element changes by much more in one step. See
    `scale_by_adam` for the maths and the differences from other libraries.

    Args:
      See `scale_by_adam` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adam(0.1)
      >>> params = {"w": jnp.array([1.0, -2.0])}
      >>> state = tx.init(params)
      >>> for _ in range(100):
      ...     grads = jax.tree.map(lambda w: 2 * w, params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> bool(jnp.abs(params["w"]).max() < 0.05)
      True

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 1, arXiv:1412.6980.
    """
    return chain(
        scale_by_adam(
            b1,
            b2,
            eps,
            eps_root,
            mu_dtype,
            nesterov=nesterov,
            amsgrad=amsgrad,
            momentum_decay=momentum_decay,
            state_dtype=state_dtype,
        ),
        scale_by_learning_rate(learning_rate),
    )


@composed
def adamw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: MaskOrFn = None,
    *,
    nesterov: bool = False,
    amsgrad: bool = False,
    momentum_decay: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """AdamW: `scale_by_adam`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adam`

    `weight_decay` `()` has the unit of u per unit of p, that is 1 / p. The decay is multiplied by
    the learning rate, as in torch and optax; in the paper, it is multiplied only by the schedule's
    multiplier.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_adam`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
      >>> tx = fo.adamw(1e-3, weight_decay=0.1, mask=matrices)
      >>> params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
      >>> grads = jax.tree.map(jnp.zeros_like, params)
      >>> updates, _ = tx.update(grads, tx.init(params), params)
      >>> updates["bias"].tolist(), round(float(updates["kernel"][0, 0]), 8)
      ([-0.0, -0.0], -0.0001)

    Reference: Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019,
    Algorithm 2, arXiv:1711.05101.
    """
    return chain(
        scale_by_adam(
            b1,
            b2,
            eps,
            eps_root,
            mu_dtype,
            nesterov=nesterov,
            amsgrad=amsgrad,
            momentum_decay=momentum_decay,
            state_dtype=state_dtype,
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
