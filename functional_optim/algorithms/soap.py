"""SOAP: Adam in the eigenbases of Shampoo's factors."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.matrices import adjoint, squares, times
from ..core.numerics.moments import bias_correction, bias_root
from ..core.numerics.precision import real_dtype
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import Decay, NonNegative, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.matrices import MatrixLeaves, on_matrices
from .eigenbases import (
    FACTORS,
    FAILURES,
    Sides,
    bases_of,
    basis_slots,
    check_sides,
    complex_moment,
    divided_by_rms,
    divided_by_root,
    is_due,
    on_whole_matrices,
    refreshed,
    rotated,
    side_sizes,
    step_scalars,
)
from .with_adam import with_adam_for_others

__all__ = ["scale_by_soap", "soap"]

Array = jax.Array


def _slots(p: Array, max_precond_dim: int, one_sided: bool) -> dict[str, Array | None]:
    sizes = side_sizes(p.shape, max_precond_dim, one_sided=one_sided)
    moments = {"mu": jnp.zeros_like(p), "nu": jnp.zeros_like(p, real_dtype(p.dtype))}
    return moments | basis_slots(p, sizes)


def _step_scalars(
    t: Array, b1: Array, b2: Array, shampoo_beta: Array, correct_bias: bool
) -> dict[str, Array]:
    """Computes the scalars of the bases and moments, and `size`, the factor s of u."""
    scalars = step_scalars(t, b1, b2, shampoo_beta)
    # At the first update the corrections would be infinite, and the moments are 0.
    n = jnp.maximum(scalars["n"], 1)
    size = bias_root(b2, n) * bias_correction(b1, n) if correct_bias else jnp.ones_like(n)
    return scalars | {"size": scalars["started"] * size}


@leaf_rule(
    slots=_slots,
    step_scalars=_step_scalars,
    tree_stats=FAILURES,
    split_complex=False,
    check=check_sides,
)
def scale_by_soap(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.95,
    b2: Decay = 0.95,
    eps: NonNegative = 1e-8,
    precondition_frequency: Annotated[Hyperparameter, Within("[1, inf)")] = 10,
    shampoo_beta: Annotated[Hyperparameter, Within("[-1, 1)")] = -1.0,
    *,
    max_precond_dim: Static[int] = 10000,
    one_sided: Static[bool] = False,
    normalize_grads: Static[bool] = False,
    correct_bias: Static[bool] = True,
    stagger: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Runs Adam in the eigenbases of Shampoo's factors, which change every few updates.

    The last two axes of a leaf are a matrix (rows, columns), and all other axes are batch axes.
    The first update makes the bases and returns 0, so that no gradient is divided in a basis that
    was computed from it. For one matrix at the update number n = 0, 1, 2, ...:

        n = 0:  L <- (1 - b3) g g^T,    Q_L = its eigenvectors, the largest first;    u = 0
        n > 0:  m <- b1 m + (1 - b1) g
                v <- b2 v + (1 - b2) (Q_L^T g Q_R)^2
                u  = s Q_L ((Q_L^T m Q_R) / (sqrt(v) + eps)) Q_R^T
                L <- b3 L + (1 - b3) g g^T
        every precondition_frequency updates, after that:
                Q_L <- the Q of the QR decomposition of L Q_L

    R and Q_R are computed in the same way from g^T. b3 is shampoo_beta, or b2 if shampoo_beta is
    negative; s = sqrt(1 - b2^n) / (1 - b1^n), or 1 without correct_bias. Before a QR decomposition,
    the columns of Q_L are sorted by the diagonal of Q_L^T L Q_L, and the rows of v with them.

    The state keeps m as `mu` `(..., rows, columns)` in units of g, v as `nu` of that shape in units
    of g^2, L as `left` `(..., rows, rows)`, R as `right` `(..., columns, columns)`, and Q_L and Q_R
    as `left_basis` and `right_basis`. A vector, and a side longer than max_precond_dim, have the
    identity as their basis, and `NoSlot()` in place of these slots; without any basis, the update
    is Adam's. b1, b2 and shampoo_beta `()` have no unit; eps `()` is in units of g; u has no unit.

    A decomposition whose result is not finite is discarded: its matrix keeps the last basis. The
    metric `failed_refreshes` counts these, once for each side, since `init`.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root; in units of g.
      precondition_frequency: updates from one refresh to the next. Changing it does not recompile.
      shampoo_beta: decay of L and R; a negative number means b2.
      max_precond_dim: longest side that has a basis; 0 for Adam without its first update.
      one_sided: whether only the shorter side has a basis, or the rows if both are equal.
      normalize_grads: whether to divide u / s by its root mean square, matrix by matrix.
      correct_bias: whether to correct the biases of m and v.
      stagger: whether leaves are refreshed at different updates, spread over the period, so that
        no update does the work for all of them.
      state_dtype: dtype of all slots, or a dict. A dict for `mu` and `nu` alone keeps the bases
        orthogonal to float32's precision.

    Differences: the numbers are those of the authors' code, up to rounding. That code keeps m
    rotated into the bases, and rotates it again at a refresh, which is equivalent while the bases
    are orthogonal. With correct_bias, sqrt(1 - b2^n) multiplies the whole quotient, so that Adam's
    eps corresponds to eps / sqrt(1 - b2^n) here. Axes of a parameter replace merge_dims: they may
    join several axes into rows or columns; more than two sides with a basis are not supported.

    Raises:
      ValueError: b1 or b2 outside [0, 1); shampoo_beta outside [-1, 1); eps negative;
        precondition_frequency below 1; max_precond_dim is not a whole number from 0.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_soap(eps=1e-3)
      >>> g = {"w": jnp.array([[3.0, 4.0], [40.0, -30.0]])}
      >>> first, state = tx.update(g, tx.init(g))
      >>> second, state = tx.update(g, state)
      >>> float(jnp.abs(first["w"]).max()), [f"{u:.2f}" for u in second["w"].ravel()]
      (0.0, ['0.60', '0.80', '0.80', '-0.60'])

    Reference: Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, ICLR 2025,
    Algorithm 3, arXiv:2409.11321.
    """
    del p, state_dtype

    def on_matrices(
        g: Array, slots: Slots, ctx: StepContext, b1: Array, b2: Array, eps: Array, period: Array
    ) -> tuple[Array, dict[str, Array]]:
        bases = bases_of(slots)
        mu = complex_moment(slots.mu, g, b1, ctx.mu_gain)
        # The weight of the first update is 0, and 0 times a square that overflows would be NaN.
        square = jnp.where(ctx.first, 0.0, squares(rotated(g, bases)))
        nu = complex_moment(slots.nu.real, square, b2, ctx.nu_gain)
        u = divided_by_root(mu, nu, eps, bases)
        u = divided_by_rms(u) if normalize_grads else u
        return times(ctx.size, u), {"mu": mu} | _refreshed(g, nu, slots, ctx, period)

    def _refreshed(
        g: Array, nu: Array, slots: Slots, ctx: StepContext, period: Array
    ) -> dict[str, Array]:
        left, right = (getattr(slots, name, None) for name in FACTORS)
        decay, gain = ctx.factor_decay, ctx.factor_gain
        factors = Sides(
            None if left is None else complex_moment(left, g @ adjoint(g), decay, gain),
            None if right is None else complex_moment(right, adjoint(g) @ g, decay, gain),
        )
        due = is_due(ctx, period, stagger=stagger)
        new, orders = refreshed(ctx, due, slots, factors, is_sorted=True)
        # The elements of v follow their eigenvectors to their new places.
        if orders.left is not None:
            nu = jnp.take_along_axis(nu, orders.left[..., :, None], axis=-2)
        if orders.right is not None:
            nu = jnp.take_along_axis(nu, orders.right[..., None, :], axis=-1)
        return {"nu": nu} | new

    return on_whole_matrices(on_matrices, g, slots, ctx, b1, b2, eps, precondition_frequency)


@composed
def soap(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.95,
    b2: ScalarOrSchedule = 0.95,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    precondition_frequency: ScalarOrSchedule = 10,
    shampoo_beta: ScalarOrSchedule = -1.0,
    weight_decay_mask: MaskOrFn = None,
    *,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    max_precond_dim: int = 10000,
    one_sided: bool = False,
    normalize_grads: bool = False,
    correct_bias: bool = True,
    stagger: bool = False,
    state_dtype: StateDtype = None,
    adam_b1: ScalarOrSchedule = 0.95,
    adam_b2: ScalarOrSchedule = 0.95,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.01,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """SOAP for matrices, and Adam for all other parameters.

    The update of a matrix is `scale_by_soap`, with decoupled decay:

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_soap`

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p;
    the authors use 3e-3. The first update moves parameters that are not matrices, and decays
    matrices.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      axes: which parameters are matrices, and along which axes: a tree of `MatrixAxes`, a prefix of
        one, or a function of the parameters, with None for the parameters that Adam trains. None
        for `axes_by_name()`, which decides by names and shapes.
      state_dtype: dtype of the slots of matrices.
      See `scale_by_soap` and `muon` for the others.

    Differences: the authors decay the parameter after the step, which makes u smaller by a factor
    of 1 - learning_rate weight_decay, and do not decay at the first update.
    They skip the first update of vectors too, whose Adam has eps / sqrt(1 - b2^n) in place of eps.
    `axes` joins the sides of a convolution, where their merge_dims joins neighbours up to
    max_precond_dim.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix (the message lists all parameters).

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.eye(2), "b": jnp.zeros(2), "embedding": jnp.ones((5, 2))}
      >>> state = fo.soap(3e-3).init(params)
      >>> state.scale_by_soap.left["w"].shape, state.scale_by_soap.left["embedding"]
      ((1, 2, 2), MaskedNode())

    Reference: Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, ICLR 2025,
    Algorithm 3, arXiv:2409.11321.
    """
    leaves = MatrixLeaves.of(axes, "soap")
    rule = scale_by_soap(
        b1,
        b2,
        eps,
        precondition_frequency,
        shampoo_beta,
        max_precond_dim=max_precond_dim,
        one_sided=one_sided,
        normalize_grads=normalize_grads,
        correct_bias=correct_bias,
        stagger=stagger,
        state_dtype=state_dtype,
    )
    return with_adam_for_others(
        (on_matrices(rule, leaves),),
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
