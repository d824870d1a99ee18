"""NorMuon: Muon whose output neurons have updates of similar norms."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.matrices import as_matrices
from ..core.numerics.moments import moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.arguments import Decay, Positive, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.trees.placement import zeros_like_mean
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..sharding.matrices import MatrixSharding
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves, on_matrices
from .muon import muon_momentum, scale_by_shape
from .newton_schulz import STANDARD, Rounds
from .orthogonalize_on_mesh import orthogonalize_by
from .with_adam import with_adam_for_others

__all__ = ["normalize_neurons", "normuon", "scale_by_normuon"]

Array = jax.Array


def _slots(p: Array) -> dict[str, Array]:
    # The second moment of complex numbers is real.
    return {"nu": zeros_like_mean(jnp.real(as_matrices(p)), axis=max(p.ndim, 2) - 2)}


@leaf_rule(slots=_slots, step_scalars=lambda beta2: {"gain": 1 - beta2}, split_complex=False)
def normalize_neurons(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    beta2: Decay = 0.95,
    eps: Positive = 1e-10,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides each column by its running root mean square, and keeps the norm of the matrix.

    For a matrix of shape `(inputs, outputs)`, the last two axes of a leaf:

        nu <- beta2 nu + (1 - beta2) mean_inputs(g^2)
        d   = g / (sqrt(nu) + eps)
        u   = d |g|_F / (|d|_F + eps)

    The state keeps nu, of shape `(1, outputs)`, in units of g^2; u is in units of g.
    """
    del p, state_dtype
    if g.size == 0:
        return g, {"nu": jnp.real(slots.nu)}
    x = as_matrices(g)
    square = jnp.square(jnp.abs(x))
    nu = moment(jnp.real(slots.nu), jnp.mean(square, axis=-2, keepdims=True), beta2, ctx.gain)
    weights = 1 / (safe_sqrt(nu) + eps)
    # The norm of d, without another array of its size.
    norm, d_norm = (
        safe_sqrt(jnp.sum(y, axis=(-2, -1), keepdims=True))
        for y in (square, jnp.square(weights) * jnp.sum(square, axis=-2, keepdims=True))
    )
    return (x * (weights * (norm / (d_norm + eps))).astype(x.dtype)).reshape(g.shape), {"nu": nu}


@composed
def scale_by_normuon(
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
    beta: ScalarOrSchedule = 0.95,
    beta2: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-10,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    ns_eps: ScalarOrSchedule = 1e-7,
    ns_dtype: DTypeLike | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Orthogonalizes a running mean of updates, and equalizes the norms of its output neurons.

    For one parameter of shape `*p`, whose last two axes are a matrix `(inputs, outputs)`:

        o   = scale_by_muon(g)
        nu <- beta2 nu + (1 - beta2) mean_inputs(o^2)
        d   = o / (sqrt(nu) + eps)
        u   = d |o|_F / (|d|_F + eps)

    The state keeps Muon's mu, of shape `*p`, in units of g, and nu, one number for each column of a
    matrix; o, nu and u have no unit.

    Args:
      beta: decay of mu, in [0, 1].
      beta2: decay of nu, in [0, 1).
      eps: added to the root and to the norm; without a unit.
      mu_dtype: dtype of mu.
      nesterov: whether the mean looks ahead, as in `scale_by_muon`.
      ns_eps: `eps` of `orthogonalize`.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.
      See `orthogonalize` for the others.

    Differences: none from the authors' code in torch, where the outputs are rows. In the paper u is
    d sqrt(inputs outputs) 0.2 / |d|_F. The implementation in Dion has eps 1e-8, and divides by
    max(|d|_F, 1e-8).

    Raises:
      ValueError: beta2 outside [0, 1), eps not positive, or as `scale_by_muon`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_normuon(ns_coeffs=((1.5, -0.5, 0.0),), ns_steps=10)
      >>> g = {"w": jnp.array([[3.0, 0.0], [4.0, 1.0]])}
      >>> u, _ = tx.update(g, tx.init(g))
      >>> [round(float(x), 3) for x in jnp.linalg.norm(u["w"], axis=0)]
      [1.0, 1.0]

    Reference: Li et al., NorMuon: Making Muon more efficient and scalable, 2025, arXiv:2510.05491;
    github.com/zichongli5/NorMuon.
    """
    return chain(
        muon_momentum(beta, mu_dtype, nesterov=nesterov, state_dtype=state_dtype),
        orthogonalize_by(None, eps="ns_eps")(ns_coeffs, ns_steps, ns_eps, ns_dtype=ns_dtype),
        normalize_neurons(beta2, eps, state_dtype=state_dtype),
    )


@composed
def normuon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Rounds | str = STANDARD,
    ns_steps: int | None = None,
    beta: ScalarOrSchedule = 0.95,
    beta2: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-10,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = None,
    mu_dtype: DTypeLike | None = None,
    *,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    matrix_sharding: MatrixSharding | None = None,
    nesterov: bool = True,
    ns_eps: ScalarOrSchedule = 1e-7,
    ns_dtype: DTypeLike | None = None,
    scale: str = "original",
    consistent_rms: ScalarOrSchedule | None = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """NorMuon for matrices, and Adam for all other parameters.

        p <- p - learning_rate (s u + weight_decay p),    u from `scale_by_normuon`

    s depends on the shape, as in `muon`. `learning_rate` `()` is in units of p.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      mu_dtype: dtype of the momentum, and of Adam's first moment.
      axes: which parameters have matrices, and along which axes, as
        `muon_weight_dimension_numbers` of `muon`.
      matrix_sharding: how the devices of a mesh share the orthogonalization; see
        `sharding.MatrixSharding`. None leaves it to the compiler.
      See `scale_by_normuon`, `orthogonalize` and `muon` for the others.

    Differences: none from the authors' code, whose matrices are `(outputs, inputs)`, and which has
    b2 0.95, eps 1e-10 and learning rate 3e-4 for Adam. In Dion's implementation, the defaults are
    `ns_coeffs="polar_express"`, no nesterov, `scale="unit_rms"`, weight decay and learning rate
    0.01. `scale="match_rms"` is the paper's scale if o is orthogonal.

    Raises:
      ValueError: an argument is out of its range; or as `muon`.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
      >>> state = fo.normuon(0.02).init(params)
      >>> state.normalize_neurons.nu["w"].shape
      (1, 1, 2)

    Reference: Li et al., NorMuon: Making Muon more efficient and scalable, 2025, arXiv:2510.05491.
    """
    leaves = MatrixLeaves.of(axes, "normuon", "axes")
    momentum = muon_momentum(beta, mu_dtype, nesterov=nesterov)
    rounds = orthogonalize_by(matrix_sharding, eps="ns_eps")(
        ns_coeffs, ns_steps, ns_eps, ns_dtype=ns_dtype
    )
    direction = (
        masked(momentum, leaves.where(matrices=True)),
        on_matrices(rounds, leaves),
        on_matrices(normalize_neurons(beta2, eps), leaves),
        on_matrices(scale_by_shape(consistent_rms, scale=scale), leaves),
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
