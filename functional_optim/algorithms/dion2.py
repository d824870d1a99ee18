"""Dion2: orthogonalized momentum of a part of the rows or columns."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.matrices import as_matrices, transposed
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.arguments import Fraction, NonNegative, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.placement import auto_sharded
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.matrices import MatrixLeaves, on_matrices
from .dion import check_fraction
from .muon import scale_by_shape
from .newton_schulz import Rounds, check_rounds, newton_schulz
from .with_adam import with_adam_for_others

__all__ = ["dion2", "scale_by_dion2"]

Array = jax.Array


def _check(options: Mapping[str, object]) -> str | None:
    return check_fraction(options, "fraction") or check_rounds(options)


@leaf_rule(
    slots=lambda p: {"mu": jnp.zeros_like(p)},
    split_complex=False,
    stack_leaves=True,
    check=_check,
)
def scale_by_dion2(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    beta: Fraction = 0.95,
    eps: NonNegative = 1e-8,
    *,
    fraction: Static[float] = 0.25,
    ns_coeffs: Static[Rounds | str] = "polar_express",
    ns_steps: Static[int | None] = None,
    ns_dtype: Static[DTypeLike | None] = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Orthogonalizes the largest rows or columns of the momentum of matrices.

    The last two axes of a leaf are a matrix `(inputs, outputs)`, and all other axes are batch axes;
    a vector is a matrix of one row. For one matrix with at most as many outputs as inputs:

        M <- M + g
        S  = the k outputs with the largest sums of |M|,    k = ceil(fraction outputs)
        u  = newton_schulz(M[:, S]) in the columns of S, and 0 in all others
        M <- beta M in the columns of S, and unchanged in all others

    With fewer inputs than outputs, S is a set of inputs, which are rows of M. All rows or columns
    that are not selected stay in M unchanged, and grow until they are selected. With `fraction=1`,
    M is the decaying sum of momentum, and u is Muon's update without nesterov.

    The state keeps M as `mu`, of the leaf's shape, in units of g. `beta` `()` has no unit, and
    `eps` `()` is in units of g. u has no unit: it has k singular values near 1.

    Args:
      beta: decay of the selected part of M, in [0, 1]: the error feedback.
      fraction: share of the shorter side that is selected, in (0, 1].
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.
      See `orthogonalize` for the others.

    Differences: the authors' code rounds to bfloat16, and by default selects within each shard of a
    sharded matrix; here sharding does not change the selection. The paper also draws S at random.

    Raises:
      ValueError: beta outside [0, 1], eps negative, fraction outside (0, 1], or the arguments of
        the iteration do not fit.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_dion2(fraction=0.5)
      >>> g = jnp.array([[1.0, 3.0], [1.0, -4.0], [0.0, 0.0]])
      >>> u, state = tx.update(g, tx.init(g))
      >>> [round(float(x), 1) for x in u.ravel()]
      [0.0, 0.5, 0.0, -0.7, 0.0, 0.0]
      >>> [round(float(x), 2) for x in state.mu.ravel()]
      [1.0, 2.85, 1.0, -3.8, 0.0, 0.0]

    Reference: Ahn, Amsel & Langford, Dion2: A simple method to shrink matrix in Muon, 2025,
    arXiv:2512.16928.
    """
    del p, ctx, state_dtype
    if g.size == 0:
        return g, {"mu": slots.mu}

    def select(mu: Array, beta: Array, eps: Array) -> tuple[Array, Array]:
        matrices = as_matrices(mu)
        axis = -1 if matrices.shape[-1] <= matrices.shape[-2] else -2
        sizes = jnp.sum(jnp.abs(matrices), axis=-3 - axis, keepdims=True)
        indices, places = _largest(sizes, axis, fraction)
        part = jnp.take_along_axis(matrices, indices, axis)
        u = newton_schulz(part, ns_coeffs, ns_steps, eps, ns_dtype=ns_dtype)
        chosen = places < indices.shape[axis]
        # The clip makes the others read the last chosen one, and the where then sets them to 0.
        u = jnp.where(chosen, jnp.take_along_axis(u, places, axis, mode="clip"), 0)
        decayed = jnp.where(chosen, beta.astype(mu.dtype) * matrices, matrices)
        return u.reshape(mu.shape), decayed.reshape(mu.shape)

    u, mu = auto_sharded(select, lambda shape, spec, mesh: (spec, spec), slots.mu + g, beta, eps)
    return u, {"mu": mu}


def _largest(sizes: Array, axis: int, fraction: float) -> tuple[Array, Array]:
    """Returns the indices of the largest sizes along an axis; the other axis has length 1.

    Also returns for each size its place among the indices; a number beyond them for all others.
    """
    flat = sizes if axis == -1 else jnp.swapaxes(sizes, -2, -1)
    # Rounded, because 0.1 * 30 in binary is more than 3.
    k = max(1, math.ceil(round(fraction * flat.shape[-1], 9)))
    indices = jax.lax.top_k(flat, k)[1]
    order = jnp.broadcast_to(jnp.arange(k, dtype=indices.dtype), indices.shape)
    beyond = jnp.full_like(flat, k, dtype=indices.dtype)
    places = jnp.put_along_axis(beyond, indices, order, -1, inplace=False)
    return tuple(  # type: ignore[return-value]
        x if axis == -1 else transposed(x) for x in (indices, places)
    )


@composed
def dion2(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    weight_decay_mask: MaskOrFn = None,
    *,
    fraction: float = 0.25,
    ns_coeffs: Rounds | str = "polar_express",
    ns_steps: int | None = None,
    ns_dtype: DTypeLike | None = None,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    consistent_rms: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.95,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """Dion2 for matrices, and Adam for all other parameters.

    The update of a matrix is `scale_by_dion2`, scaled by its shape; all elements decay, and the
    decay is decoupled:

        p <- p - learning_rate (s u + weight_decay p)
        s  = sqrt(outputs / inputs), or consistent_rms sqrt(max(outputs, inputs))

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      axes: tree of `MatrixAxes`, or a prefix of one, with None for the parameters that Adam
        trains; or a function of the parameters that returns one. None for `axes_by_name()`.
      consistent_rms: 0.2 for learning rates of AdamW. It is the root mean square of a step at
        `fraction=1`; with less, most elements of a step are 0.
      See `scale_by_dion2`, `orthogonalize` and `muon` for the others.

    Differences: see `scale_by_dion2`. In the authors' code other parameters decay too, unless
    their group says otherwise; in their training script embeddings and the last layer do not.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix.

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.ones((4, 8)), "b": jnp.zeros(8)}
      >>> tx = fo.dion2(0.1, weight_decay=0.0)
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> int((updates["w"] != 0).sum())
      8

    Reference: Ahn, Amsel & Langford, Dion2: A simple method to shrink matrix in Muon, 2025,
    arXiv:2512.16928.
    """
    leaves = MatrixLeaves.of(axes, "dion2")
    rule = scale_by_dion2(
        beta,
        eps,
        fraction=fraction,
        ns_coeffs=ns_coeffs,
        ns_steps=ns_steps,
        ns_dtype=ns_dtype,
        state_dtype=state_dtype,
    )
    shape = scale_by_shape(
        consistent_rms, scale="unit_rms" if consistent_rms is None else "match_rms"
    )
    return with_adam_for_others(
        (on_matrices(rule, leaves), on_matrices(shape, leaves)),
        leaves,
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=adam_eps,
        adam_weight_decay=adam_weight_decay,
        adam_learning_rate=adam_learning_rate,
    )
