"""NovoGrad: momentum of gradients, each parameter's gradient divided by its running norm."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import moment
from ..core.numerics.precision import real_dtype, safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, SlotDtype, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["novograd", "scale_by_novograd"]

Array = jax.Array


def _slots(p: Array) -> dict[str, Array]:
    return {"mu": jnp.zeros_like(p), "nu": jnp.zeros((), real_dtype(p.dtype))}


def _step_scalars(t: Array, b2: Array) -> dict[str, Array]:
    """Computes the weights of nu, which starts as the first square instead of 0."""
    first = t == 1
    return {"nu_decay": jnp.where(first, 0.0, b2), "nu_gain": jnp.where(first, 1.0, 1 - b2)}


@leaf_rule(slots=_slots, step_scalars=_step_scalars, needs=("params",), split_complex=False)
def scale_by_novograd(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.25,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Accumulates updates divided by the running root mean square of their norms.

    For one parameter of shape `*p`, with |g| `()` the norm of its whole update:

        nu <- b2 nu + (1 - b2) |g|^2,    nu = |g|^2 at its first update
        mu <- b1 mu + g / (sqrt(nu + eps_root) + eps) + weight_decay p
        u   = mu

    The state keeps mu, of shape `*p`, and nu `()`. `b1`, `b2` `()` have no unit; `eps` `()` is
    in units of g, `eps_root` in units of g^2, `weight_decay` in units of 1 / p.

    Args:
      b1, b2: decays of mu and of nu, in [0, 1).
      eps: added to the root; in units of g.
      eps_root: added under the root; in units of g^2.
      weight_decay: multiple of p that enters mu; in units of 1 / p.
      mu_dtype: dtype of mu.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the paper; defaults are as in optax (the paper has b1 = 0.95,
    b2 = 0.98).

    Raises:
      ValueError: b1 or b2 outside [0, 1); eps, eps_root or weight_decay negative; `update` is
        called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_novograd(eps=0.0), {"w": jnp.zeros(2)}
      >>> tx.update({"w": jnp.array([3.0, 4.0])}, tx.init(params), params)[0]
      {'w': Array([0.6, 0.8], dtype=float32)}

    Reference: Ginsburg et al., Stochastic gradient methods with layer-wise adaptive moments for
    training of deep networks, 2019, Algorithm 1, arXiv:1905.11286.
    """
    del b2, mu_dtype, state_dtype
    squared = jnp.sum(jnp.square(jnp.abs(g)))
    # nu is real, but the maths receives all slots of a complex parameter as complex arrays.
    nu = moment(jnp.real(slots.nu), squared, ctx.nu_decay, ctx.nu_gain)
    root = safe_sqrt(nu + eps_root) + eps
    b1, root, weight_decay = (x.astype(g.dtype) for x in (b1, root, weight_decay))
    mu = b1 * slots.mu + g / root + weight_decay * p
    return mu, {"mu": mu, "nu": nu}


@composed
def novograd(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.25,
    eps: ScalarOrSchedule = 1e-6,
    eps_root: ScalarOrSchedule = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """NovoGrad: `scale_by_novograd`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p: the norm of each parameter's step is at most about
    learning_rate / (1 - b1).

    Args:
      See `scale_by_novograd` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.novograd(1.0, eps=0.0), {"w": jnp.zeros(2)}
      >>> updates, _ = tx.update({"w": jnp.array([3.0, 4.0])}, tx.init(params), params)
      >>> print(updates["w"])
      [-0.6 -0.8]

    Reference: Ginsburg et al., Stochastic gradient methods with layer-wise adaptive moments for
    training of deep networks, 2019, Algorithm 1, arXiv:1905.11286.
    """
    return chain(
        scale_by_novograd(b1, b2, eps, eps_root, weight_decay, mu_dtype, state_dtype=state_dtype),
        scale_by_learning_rate(learning_rate),
    )
