"""SM3: accumulators for rows and columns in place of elements."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule, renamed
from ..core.numerics.moments import moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, Fraction, NonNegative, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.trees.placement import shard_like, with_one_sharding
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["scale_by_sm3", "sm3"]

Array = jax.Array


def _slots(p: Array) -> dict[str, Array]:
    # The accumulators of all axes are concatenated, so that every rank has the same slots.
    mu = jnp.zeros_like(p)
    return {"mu": mu, "cover": mu.reshape(-1) if p.ndim < 2 else jnp.zeros(sum(p.shape), p.dtype)}


def _accumulators(cover: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yields the accumulator of each axis, broadcast to the shape of the parameter."""
    ends = np.cumsum(shape)
    for axis, part in enumerate(jnp.split(cover, ends[:-1])):
        yield jax.lax.broadcast_in_dim(part, shape, (axis,))


def _least(cover: Array, shape: tuple[int, ...]) -> Array:
    """Returns for each element the smallest accumulator of its indices."""
    if len(shape) < 2:
        return cover.reshape(shape)
    return functools.reduce(jnp.minimum, _accumulators(cover, shape))


def _largest(nu: Array) -> Array:
    """Returns for each index of each axis the largest element, concatenated over the axes."""
    if nu.ndim < 2:
        return nu.reshape(-1)
    if nu.size == 0:
        return jnp.zeros(sum(nu.shape), nu.dtype)
    other_axes = [tuple(j for j in range(nu.ndim) if j != i) for i in range(nu.ndim)]
    return jnp.concatenate(with_one_sharding([jnp.max(nu, axis=axes) for axes in other_axes]))


def _step_scalars(b1: Array, b2: Array) -> dict[str, Array]:
    """Computes the weights of the new update; with b2 = 1 squares are summed, not averaged."""
    return {"gain": 1 - b1, "weight": jnp.where(b2 == 1, jnp.ones_like(b2), 1 - b2)}


@leaf_rule(slots=_slots, step_scalars=_step_scalars)
def scale_by_sm3(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Fraction = 1.0,
    eps: NonNegative = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides updates by the root of sums of squares that are stored by row and column only.

    For one parameter of shape `*p`, whose cover has an accumulator for each index of each axis:

        nu     = w g^2 + b2 min(cover)    over the element's axes; w = 1 - b2, but 1 for b2 = 1
        cover <- max(nu)                  over all other axes
        mu    <- b1 mu + (1 - b1) g / sqrt(nu + eps)    with 0 for the quotient where nu is 0
        u      = mu

    The state keeps mu, of shape `*p`, and the cover, one vector with as many elements as the sum
    of the axes' sizes. `b1`, `b2` `()` have no unit; `eps` `()` is in units of g^2; u has no unit.

    Args:
      b1: decay of mu, in [0, 1).
      b2: decay of the accumulators, in [0, 1]; 1 for sums.
      eps: added under the root; in units of g^2.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: b1 averages quotients, as in optax and in the paper.

    Raises:
      ValueError: b1 outside [0, 1), b2 outside [0, 1], or eps negative.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_sm3(b1=0.0), {"w": jnp.zeros((2, 2))}
      >>> updates, state = tx.update({"w": jnp.array([[1.0, 2.0], [0.0, 3.0]])}, tx.init(params))
      >>> print(state.cover["w"])
      [4. 9. 1. 9.]

    Reference: Anil et al., Memory-efficient adaptive optimization, NeurIPS 2019, Algorithm
    SM3-II, arXiv:1901.11150.
    """
    del p, state_dtype
    nu = ctx.weight * jnp.square(g) + _least(b2 * slots.cover, g.shape)
    # Where nu is 0, g is 0 as well: a division by infinity gives 0, also with eps = 0.
    infinite = jax.lax.full_like(nu, jnp.inf)
    quotient = g / safe_sqrt(jax.lax.select(nu > 0, eps + nu, infinite))
    mu = moment(slots.mu, quotient, b1, ctx.gain)
    # Otherwise the compiler may choose another sharding than the old slot has.
    return mu, {"mu": mu, "cover": shard_like(_largest(nu), slots.cover)}


_with_momentum = renamed(scale_by_sm3, b1="momentum")


@composed
def sm3(
    learning_rate: ScalarOrSchedule, momentum: ScalarOrSchedule = 0.9
) -> GradientTransformation:
    """SM3: `scale_by_sm3`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p; `momentum` `()` is the b1 of `scale_by_sm3`.

    Args:
      momentum: `b1` of `scale_by_sm3`.
      See `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.sm3(0.1, momentum=0.0), {"w": jnp.zeros(2)}
      >>> updates, _ = tx.update({"w": jnp.array([4.0, -1.0])}, tx.init(params))
      >>> print(updates["w"])
      [-0.1  0.1]

    Reference: Anil et al., Memory-efficient adaptive optimization, NeurIPS 2019,
    arXiv:1901.11150.
    """
    return chain(_with_momentum(momentum), scale_by_learning_rate(learning_rate))
