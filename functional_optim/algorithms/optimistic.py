"""Optimistic gradient descent: extrapolates with the last change of the gradient."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule, renamed
from ..core.numerics.validation import Interval, as_number
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale, scale_by_learning_rate
from .adam import scale_by_adam

__all__ = [
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "scale_by_optimistic_gradient",
]

Array = jax.Array


def _step_scalars(t: Array, alpha: Array, beta: Array) -> dict[str, Array]:
    """Computes the weights of the gradient and of the previous gradient, 0 at the first update."""
    previous = jnp.where(t > 1, beta, jnp.zeros_like(beta))
    return {"gain": alpha + previous, "previous": previous}


@leaf_rule(slots=lambda p: {"previous": jnp.zeros_like(p)}, step_scalars=_step_scalars)
def scale_by_optimistic_gradient(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    alpha: Hyperparameter = 1.0,
    beta: Hyperparameter = 1.0,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Adds to updates a multiple of their change since the last update.

    For one parameter of shape `*p`:

        u = alpha g + beta (g - previous),    previous = g at its first update

    The state keeps previous, of shape `*p`, in units of g. `alpha` and `beta` `()` have no
    unit.

    Args:
      alpha: weight of the update.
      beta: weight of its change.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_optimistic_gradient()
      >>> _, state = tx.update({"w": 1.0}, tx.init({"w": 0.0}))
      >>> tx.update({"w": 3.0}, state)[0]
      {'w': Array(5., dtype=float32)}

    Reference: Mokhtari, Ozdaglar & Pattathil, A unified analysis of extra-gradient and
    optimistic gradient methods for saddle point problems, AISTATS 2020, equation 6,
    arXiv:1901.08511.
    """
    del p, alpha, beta, state_dtype
    return ctx.gain * g - ctx.previous * slots.previous, {"previous": g}


_optimistic = renamed(scale_by_optimistic_gradient, alpha="learning_rate", beta="optimism")


@composed
def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule,
    alpha: ScalarOrSchedule = 1.0,
    beta: ScalarOrSchedule = 1.0,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Optimistic gradient descent: `scale_by_optimistic_gradient`, then the learning rate.

    `learning_rate` `()` is in units of p per unit of g. It converges to saddle points of min-max
    problems, around which gradient descent spirals outwards.

    Args:
      See `scale_by_optimistic_gradient` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.optimistic_gradient_descent(0.1)
      >>> params = jnp.array([1.0, 1.0])  # x y is minimized over x and maximized over y
      >>> state = tx.init(params)
      >>> for _ in range(1000):
      ...     grads = jnp.array([params[1], -params[0]])
      ...     updates, state = tx.update(grads, state)
      ...     params = fo.apply_updates(params, updates)
      >>> bool(jnp.abs(params).max() < 0.02)
      True

    Reference: Mokhtari, Ozdaglar & Pattathil, A unified analysis of extra-gradient and
    optimistic gradient methods for saddle point problems, AISTATS 2020, arXiv:1901.08511.
    """
    return chain(
        scale_by_optimistic_gradient(alpha, beta, state_dtype=state_dtype),
        scale_by_learning_rate(learning_rate),
    )


@composed
def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule,
    alpha: ScalarOrSchedule = 1.0,
    beta: ScalarOrSchedule = 1.0,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    amsgrad: bool = False,
    momentum_decay: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Optimistic Adam: `scale_by_adam`, `scale_by_optimistic_gradient`, then the learning rate.

    `learning_rate` `()` is in units of p.

    Args:
      See `scale_by_adam`, `scale_by_optimistic_gradient` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.optimistic_adam_v2(0.1, nesterov=False)
      >>> updates, _ = tx.update({"w": 2.0}, tx.init({"w": 0.0}))
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Daskalakis et al., Training GANs with optimism, ICLR 2018, Algorithm 1,
    arXiv:1711.00141.
    """
    adam = scale_by_adam(
        b1,
        b2,
        eps,
        eps_root,
        mu_dtype,
        nesterov=nesterov,
        amsgrad=amsgrad,
        momentum_decay=momentum_decay,
        state_dtype=state_dtype,
    )
    return chain(
        adam,
        scale_by_optimistic_gradient(alpha, beta, state_dtype=state_dtype),
        scale_by_learning_rate(learning_rate),
    )


@composed
def optimistic_adam(
    learning_rate: ScalarOrSchedule,
    optimism: ScalarOrSchedule | None = None,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Optimistic Adam: `scale_by_adam`, and another learning rate for the change of its direction.

    For one parameter of shape `*p`, with r from `scale_by_adam`:

        p <- p - learning_rate r - optimism (r - previous r)

    `learning_rate` and `optimism` `()` are in units of p. In `optimistic_adam_v2`, the second
    factor is relative to the learning rate.

    Args:
      optimism: learning rate of the change of r; None for learning_rate, as in the paper.
      See `scale_by_adam` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.optimistic_adam(0.1, 1.0, nesterov=False)
      >>> updates, _ = tx.update({"w": 2.0}, tx.init({"w": 0.0}))
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Daskalakis et al., Training GANs with optimism, ICLR 2018, Algorithm 1,
    arXiv:1711.00141.
    """
    adam = scale_by_adam(
        b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov, state_dtype=state_dtype
    )
    if optimism is None:
        extrapolated = scale_by_optimistic_gradient(state_dtype=state_dtype)
        return chain(adam, extrapolated, scale_by_learning_rate(learning_rate))
    if not callable(learning_rate):
        as_number(learning_rate, "optimistic_adam: learning_rate", Interval("[0, inf)"))
    return chain(adam, _optimistic(learning_rate, optimism, state_dtype=state_dtype), scale(-1.0))
