"""AdaMuon: Muon of signs, divided by running root mean squares."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.matrices import matrix_axes
from ..core.numerics.moments import moment
from ..core.numerics.precision import real_dtype, safe_sqrt
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.arguments import Decay, NonNegative, Positive, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import norm_along
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..sharding.matrices import MatrixSharding
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves, on_matrices
from .muon import muon_momentum
from .newton_schulz import STANDARD, Rounds
from .orthogonalize_on_mesh import orthogonalize_by
from .sign_sgd import scale_by_sign
from .with_adam import with_adam_for_others

__all__ = ["adamuon", "normalize_elements", "scale_by_adamuon"]

Array = jax.Array


@leaf_rule(
    slots=lambda p: {"nu": jnp.zeros_like(p, real_dtype(p.dtype))},
    step_scalars=lambda beta2: {"gain": 1 - beta2},
    split_complex=False,
)
def normalize_elements(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    beta2: Decay = 0.95,
    eps: Positive = 1e-8,
    consistent_rms: NonNegative = 0.2,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides elements by their running root mean square, and scales each matrix to one RMS.

    For a matrix of shape `(rows, columns)`, the last two axes of a leaf:

        nu <- beta2 nu + (1 - beta2) g^2
        d   = g / (sqrt(nu) + eps)
        u   = consistent_rms sqrt(rows columns) d / (|d|_F + eps)

    The state keeps nu, of the shape of g, in units of g^2; u has no unit, and `consistent_rms` is
    its root mean square.
    """
    del p, state_dtype
    if g.size == 0:
        return g, {"nu": jnp.real(slots.nu)}
    nu = moment(jnp.real(slots.nu), jnp.square(jnp.abs(g)), beta2, ctx.gain)
    d = g / (safe_sqrt(nu) + eps).astype(g.dtype)
    last = matrix_axes(g)
    norm = norm_along(d, last)
    size = math.prod(g.shape[axis] for axis in last)
    return (consistent_rms * size**0.5 / (norm + eps)).astype(g.dtype) * d, {"nu": nu}


@composed
def scale_by_adamuon(
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
    beta: ScalarOrSchedule = 0.95,
    beta2: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-8,
    consistent_rms: ScalarOrSchedule = 0.2,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    use_sign: bool = True,
    ns_eps: ScalarOrSchedule = 1e-7,
    ns_dtype: DTypeLike | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Orthogonalizes the signs of a running mean, and divides by running root mean squares.

    For one parameter of shape `*p`, whose last two axes are a matrix `(inputs, outputs)`:

        o   = orthogonalize(sign(muon_momentum(g)))
        nu <- beta2 nu + (1 - beta2) o^2
        d   = o / (sqrt(nu) + eps)
        u   = consistent_rms sqrt(inputs outputs) d / (|d|_F + eps)

    The state keeps Muon's mu, in units of g, and nu, both of shape `*p`; o, nu and u have no unit.
    `consistent_rms` `()` is the root mean square of u.

    Args:
      beta: decay of mu, in [0, 1].
      beta2: decay of nu, in [0, 1).
      eps: added to the root and to the norm; without a unit.
      consistent_rms: the root mean square of u; Adam's updates have about 0.2.
      mu_dtype: dtype of mu.
      nesterov: whether the mean looks ahead, as in `scale_by_muon`.
      use_sign: whether to orthogonalize the signs; the authors' code for Megatron does not.
      ns_eps: `eps` of `orthogonalize`.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.
      See `orthogonalize` for the others.

    Differences: this follows the authors' code for GPT-2, which has one number for beta and beta2.

    Raises:
      ValueError: beta2 outside [0, 1), eps not positive, consistent_rms negative, or as
        `scale_by_muon`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adamuon()
      >>> g = {"w": jnp.array([[3.0, 0.5], [4.0, 1.0]])}
      >>> u, _ = tx.update(g, tx.init(g))
      >>> round(float(jnp.sqrt(jnp.mean(u["w"] ** 2))), 3)
      0.2

    Reference: Si, Zhang & Shen, AdaMuon: Adaptive Muon optimizer, 2025, arXiv:2507.11005;
    github.com/Chongjie-Si/AdaMuon.
    """
    return chain(
        muon_momentum(beta, mu_dtype, nesterov=nesterov, state_dtype=state_dtype),
        *((scale_by_sign(),) if use_sign else ()),
        orthogonalize_by(None, eps="ns_eps")(ns_coeffs, ns_steps, ns_eps, ns_dtype=ns_dtype),
        normalize_elements(beta2, eps, consistent_rms, state_dtype=state_dtype),
    )


@composed
def adamuon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
    beta: ScalarOrSchedule = 0.95,
    beta2: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-8,
    consistent_rms: ScalarOrSchedule = 0.2,
    weight_decay: ScalarOrSchedule = 0.01,
    weight_decay_mask: MaskOrFn = None,
    mu_dtype: DTypeLike | None = None,
    *,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    matrix_sharding: MatrixSharding | None = None,
    nesterov: bool = True,
    use_sign: bool = True,
    ns_eps: ScalarOrSchedule = 1e-7,
    ns_dtype: DTypeLike | None = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """AdaMuon for matrices, and Adam for all other parameters.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adamuon`

    `learning_rate` `()` is in units of p. Learning rates of AdamW work, because all steps have
    about the root mean square of AdamW's steps.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      mu_dtype: dtype of the momentum, and of Adam's first moment.
      axes: which parameters have matrices, and along which axes, as
        `muon_weight_dimension_numbers` of `muon`.
      matrix_sharding: how the devices of a mesh share the orthogonalization; see
        `sharding.MatrixSharding`. None leaves it to the compiler.
      See `scale_by_adamuon`, `orthogonalize` and `muon` for the others.

    Differences: see `scale_by_adamuon`. The authors' code has no Adam for other parameters.

    Raises:
      ValueError: an argument is out of its range; or as `muon`.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
      >>> state = fo.adamuon(1e-3).init(params)
      >>> state.normalize_elements.nu["w"].shape
      (3, 2)

    Reference: Si, Zhang & Shen, AdaMuon: Adaptive Muon optimizer, 2025, arXiv:2507.11005.
    """
    leaves = MatrixLeaves.of(axes, "adamuon", "axes")
    matrices = leaves.where(matrices=True)
    rounds = orthogonalize_by(matrix_sharding, eps="ns_eps")(
        ns_coeffs, ns_steps, ns_eps, ns_dtype=ns_dtype
    )
    direction = (
        masked(muon_momentum(beta, mu_dtype, nesterov=nesterov), matrices),
        *((masked(scale_by_sign(), matrices),) if use_sign else ()),
        on_matrices(rounds, leaves),
        on_matrices(normalize_elements(beta2, eps, consistent_rms), leaves),
    )
    return with_adam_for_others(
        direction,
        leaves,
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=adam_eps,
        adam_weight_decay=adam_weight_decay,
        adam_learning_rate=adam_learning_rate,
        adam_mu_dtype=mu_dtype,
    )
