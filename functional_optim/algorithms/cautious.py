"""Cautious optimizers: elements whose update disagrees in sign with the gradient do not move."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.adapter import check_pair
from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import NonNegative, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.incoming import with_incoming
from ..transforms.masking import maskable
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam
from .lion import scale_by_lion

__all__ = ["cautious", "cautious_adamw", "cautious_lion", "cautious_weight_decay"]

Array = jax.Array


@leaf_rule(needs_trees=("incoming",))
def keep_agreeing(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    min_fraction: Annotated[Hyperparameter, Within("(0, 1]")] = 1e-3,
    *,
    flip_sign: Static[bool] = True,
) -> tuple[Array, dict[str, Array]]:
    """Sets the elements of updates to 0 whose sign disagrees with the gradient; see `cautious`."""
    del slots, p
    # The sign of one factor suffices, and a product of two small numbers may underflow to 0.
    product = g * jnp.sign(ctx.incoming)
    agrees = product < 0 if flip_sign else product > 0
    fraction = jnp.sum(agrees, dtype=g.dtype) * (1 / max(g.size, 1))
    rescaled = g * (1 / jnp.maximum(fraction, min_fraction))
    return jax.lax.select(agrees, rescaled, jax.lax.full_like(g, 0)), {}


@composed
def cautious(
    inner: GradientTransformation,
    min_fraction: ScalarOrSchedule = 1e-3,
    *,
    flip_sign: bool = True,
) -> GradientTransformation:
    """Keeps only the elements of updates that agree in sign with minus the gradient.

    For one parameter of shape `*p`, with g its gradient and u its update by `inner`:

        a  = u g < 0,    u g > 0 without flip_sign
        u <- u a / max(mean(a), min_fraction)

    The state has the states of `inner` and of the transformation `keep_agreeing`.
    `min_fraction` `()` has no unit: it bounds the factor by which the remaining elements grow.

    Args:
      inner: an optimizer. Weight decay within inner is masked as well; `cautious_adamw` and
        `cautious_lion` add weight decay after the mask, as the paper does.
      min_fraction: lower bound of mean(a), in (0, 1].
      flip_sign: whether the updates of inner are steps, with the sign of minus the gradient. Pass
        False for a direction that has not been multiplied by minus the learning rate, such as
        `scale_by_adam()`.

    Differences: none from timm and from the authors' later code; their first version divides by
    mean(a) + 1 / size of the parameter.

    Raises:
      TypeError: inner is not a pair of functions.
      ValueError: min_fraction outside (0, 1].

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.cautious(fo.sgd(1.0, momentum=0.5))
      >>> params = {"w": jnp.zeros(2)}
      >>> state = tx.init(params)
      >>> for g in ([4.0, 4.0], [1.0, -1.0]):
      ...     updates, state = tx.update({"w": jnp.array(g)}, state, params)
      ...     print(updates["w"])
      [-4. -4.]
      [-6.  0.]

    Reference: Liang et al., Cautious optimizers: Improving training with one line of code, 2024,
    Algorithm 1, arXiv:2411.16085.
    """
    check_pair("cautious: inner", inner)
    return with_incoming("cautious", inner, keep_agreeing(min_fraction, flip_sign=flip_sign))


@composed
def cautious_adamw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: MaskOrFn = None,
    *,
    min_fraction: ScalarOrSchedule = 1e-3,
    nesterov: bool = False,
) -> GradientTransformation:
    """C-AdamW: `cautious` of `scale_by_adam`, decoupled weight decay, then the learning rate.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_adam`, `cautious`, `add_decayed_weights` and `scale_by_learning_rate` for the
      others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.cautious_adamw(0.1), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Liang et al., Cautious optimizers: Improving training with one line of code, 2024,
    Algorithm 2, arXiv:2411.16085.
    """
    adam = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(
        cautious(adam, min_fraction, flip_sign=False),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@composed
def cautious_lion(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.99,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: MaskOrFn = None,
    *,
    min_fraction: ScalarOrSchedule = 1e-3,
) -> GradientTransformation:
    """C-Lion: `cautious` of `scale_by_lion`, decoupled weight decay, then the learning rate.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_lion`, `cautious`, `add_decayed_weights` and `scale_by_learning_rate` for the
      others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.cautious_lion(0.1, weight_decay=0.0), {"w": jnp.zeros(2)}
      >>> updates, _ = tx.update({"w": jnp.array([10.0, -3.0])}, tx.init(params), params)
      >>> print(updates["w"])
      [-0.1  0.1]

    Reference: Liang et al., Cautious optimizers: Improving training with one line of code, 2024,
    Algorithm 3, arXiv:2411.16085.
    """
    return chain(
        cautious(scale_by_lion(b1, b2, mu_dtype), min_fraction, flip_sign=False),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@maskable
@leaf_rule(needs=("params",))
def cautious_weight_decay(
    g: Array, slots: Slots, p: Array, ctx: StepContext, weight_decay: NonNegative = 0.0
) -> tuple[Array, dict[str, Array]]:
    """Adds a multiple of the parameters to updates where both have the same sign.

    For one parameter of shape `*p`: u = g + weight_decay p where g p >= 0, and g elsewhere. Put it
    after the direction and before the learning rate, in place of `add_decayed_weights`: elements
    decay only if their step also goes towards 0. `weight_decay` `()` is in units of g per unit of
    p.

    Args:
      weight_decay: multiple of p that is added; in units of g per unit of p.
      mask: tree of booleans shaped like the parameters (or a prefix of that), or a function
        of the parameters that returns one; where it is False, the updates pass unchanged.

    Raises:
      ValueError: weight_decay < 0, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.cautious_weight_decay(0.5), {"w": jnp.array([4.0, 4.0])}
      >>> tx.update({"w": jnp.array([1.0, -1.0])}, tx.init(params), params)[0]
      {'w': Array([ 3., -1.], dtype=float32)}

    Reference: Chen et al., Cautious weight decay, 2025, Algorithm 1, arXiv:2510.12402.
    """
    del slots, ctx
    return jax.lax.select(g * jnp.sign(p) >= 0, g + weight_decay * p, g), {}
