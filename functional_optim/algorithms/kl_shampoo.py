"""KL-Shampoo: Shampoo whose factors minimize a Kullback-Leibler divergence."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.matrices import adjoint, as_matrices, squares, times
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import (
    Decay,
    InitOnly,
    NonNegative,
    Optional_,
    StateDtype,
    Static,
    Within,
)
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
    is_due,
    on_whole_matrices,
    refreshed,
    rotated,
    rotated_back,
    side_sizes,
    step_scalars,
)
from .with_adam import with_adam_for_others

__all__ = [
    "kl_shampoo",
    "Clamp",
    "InitFactor",
    "kl_refreshed",
    "kl_scalars",
    "kl_slots",
    "scale_by_kl_shampoo",
]

Array = jax.Array

Clamp = Annotated[Hyperparameter | None, Within("(0, inf]"), Optional_]
"""The largest inverse root of an eigenvalue."""

InitFactor = Annotated[Any, Within("(0, inf)"), InitOnly]
"""The first eigenvalues."""


def kl_slots(p: Array, max_precond_dim: int, init_factor: float) -> dict[str, Array | None]:
    """Makes the slots of factors, bases and eigenvalues; a vector is a matrix of one row."""
    rows, columns = ((1, 1, *p.shape)[-2:]) if p.ndim < 2 else p.shape[-2:]
    values = {
        f"{name}_values": jnp.full((*p.shape[:-2], n), init_factor, jnp.finfo(p.dtype).dtype)
        for name, n in zip(FACTORS, (rows, columns), strict=True)
    }
    return basis_slots(p, side_sizes(p.shape, max_precond_dim)) | values


def kl_scalars(t: Array, b1: Array, b2: Array, shampoo_beta: Array) -> dict[str, Array]:
    """Computes the scalars of update number t; the first update keeps the eigenvalues."""
    scalars = step_scalars(t, b1, b2, shampoo_beta)
    gain = scalars["started"] * scalars["factor_gain"]
    return scalars | {"value_decay": 1 - gain, "value_gain": gain}


def kl_refreshed(
    ctx: StepContext, g: Array, slots: Slots, due: Array, max_clamp: Array | None
) -> dict[str, Array]:
    """Updates factors and eigenvalues by a gradient, and refreshes the bases if that is due.

    Each factor is a mean of squares of g whitened along the other side, with the bases and the
    eigenvalues of the last update.
    """
    bases = bases_of(slots)
    in_left, in_right = Sides(bases.left, None), Sides(None, bases.right)
    matrices = as_matrices(g)
    rows, columns = matrices.shape[-2:]
    # Rows have their elements in the right basis, and columns in the left one.
    of_rows, of_columns = rotated(matrices, in_right), rotated(matrices, in_left)
    square = squares(rotated(of_columns, in_right))
    by_left = _inverse(slots.left_values.real[..., :, None])
    by_right = _inverse(slots.right_values.real[..., None, :])
    means = {
        "left_values": jnp.mean(square * by_right, axis=-1),
        "right_values": jnp.mean(square * by_left, axis=-2),
    }
    new_values = {}
    for name, mean in means.items():
        value = complex_moment(getattr(slots, name).real, mean, ctx.value_decay, ctx.value_gain)
        new_values[name] = value if max_clamp is None else _at_least(value, max_clamp)
    # The first factors are Shampoo's, without the eigenvalues.
    by_left, by_right = (jnp.where(ctx.first, 1, x) for x in (by_left, by_right))
    left, right = (getattr(slots, name, None) for name in FACTORS)
    decay, gain = ctx.factor_decay, ctx.factor_gain
    if left is not None:
        scaled = times(by_right / columns, of_rows)
        left = complex_moment(left, scaled @ adjoint(of_rows), decay, gain)
    if right is not None:
        scaled = times(by_left / rows, of_columns)
        right = complex_moment(right, adjoint(of_columns) @ scaled, decay, gain)
    new, _ = refreshed(ctx, due, slots, Sides(left, right), is_sorted=False)
    return new | new_values


def _inverse(values: Array) -> Array:
    """Returns 1 / values, and 0 where a value is 0."""
    return jnp.where(values > 0, 1 / jnp.where(values > 0, values, 1), 0)


def _at_least(values: Array, max_clamp: Array) -> Array:
    """Bounds 1 / sqrt(values) by max_clamp and the length of the side, or by 10 if that is more."""
    # 10 is a constant of the authors' code.
    largest = jnp.maximum(jnp.minimum(values.shape[-1], max_clamp), 10)
    return jnp.maximum(values, 1 / jnp.square(largest))


@leaf_rule(
    slots=lambda p, max_precond_dim, init_factor: {
        "mu": jnp.zeros_like(p),
        **kl_slots(p, max_precond_dim, init_factor),
    },
    step_scalars=kl_scalars,
    tree_stats=FAILURES,
    split_complex=False,
    check=check_sides,
)
def scale_by_kl_shampoo(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.98,
    eps: NonNegative = 1e-8,
    precondition_frequency: Annotated[Hyperparameter, Within("[1, inf)")] = 10,
    shampoo_beta: Annotated[Hyperparameter, Within("[-1, 1)")] = -1.0,
    max_clamp: Clamp = 4000.0,
    *,
    init_factor: InitFactor = 0.1,
    max_precond_dim: Static[int] = 10000,
    normalize_grads: Static[bool] = False,
    stagger: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides updates by the root of the Kronecker product that is nearest to their covariance.

    The last two axes of a leaf are a matrix (rows, columns), and all other axes are batch axes; a
    vector is a matrix of one row. Nearest refers to the Kullback-Leibler divergence of normal
    distributions. For one matrix at the update number n = 0, 1, 2, ...:

        n = 0:  L <- (1 - b3) g g^T / columns,    Q_L = its eigenvectors,    u = 0
        n > 0:  m <- b1 m + (1 - b1) g
                u  = Q_L ((Q_L^T m Q_R) / (sqrt(l r^T) + eps)) Q_R^T
                L <- b3 L + (1 - b3) (g Q_R) diag(1 / r) (g Q_R)^T / columns
                l <- b3 l + (1 - b3) mean over columns of (Q_L^T g Q_R)^2 / r
                l <- max(l, 1 / c^2),    c = max(10, min(rows, max_clamp))
        every precondition_frequency updates, after that:
                Q_L <- the Q of the QR decomposition of L Q_L

    R, r and Q_R are computed in the same way from g^T. All of them use l, r and the bases of the
    previous update. l and r, the eigenvalues of L and R, start at init_factor; b3 is shampoo_beta,
    or b2 if that is negative. There is no bias correction.

    The state keeps m as `mu` `(..., rows, columns)` in units of g, L as `left` `(..., rows, rows)`,
    Q_L as `left_basis`, l as `left_values` `(..., rows)`, and the same for the columns as `right`,
    `right_basis` and `right_values`. A vector, and a side longer than max_precond_dim, have the
    identity as their basis, and `NoSlot()` as the first two of these slots. b1, b2 and shampoo_beta
    `()` have no unit; eps `()` is in units of g, and so is the root of l r; u has no unit.

    A decomposition whose result is not finite is discarded: its matrix keeps the last basis. The
    metric `failed_refreshes` counts these, once for each side, since `init`.

    Args:
      b1: decay of m, in [0, 1).
      b2: decay of L, R, l and r if shampoo_beta is negative.
      eps: added to the root of l r; in units of g.
      precondition_frequency: updates from one refresh to the next. Changing it does not recompile.
      shampoo_beta: decay of L, R, l and r; a negative number means b2.
      max_clamp: bound of 1 / sqrt(l); None for no bound.
      init_factor: l and r at the start, above 0.
      max_precond_dim: longest side that has a basis.
      normalize_grads: whether to divide u by its root mean square, matrix by matrix.
      stagger: whether leaves are refreshed at different updates, spread over the period.
      state_dtype: dtype of all slots, or a dict; see `scale_by_soap`.

    Differences: the numbers are those of the authors' code up to its precision, which is bfloat16
    except in the decompositions. That code refuses vectors, and does not have max_precond_dim. The
    paper has neither max_clamp nor init_factor.

    Raises:
      ValueError: b1 or b2 outside [0, 1); shampoo_beta outside [-1, 1); eps negative;
        precondition_frequency below 1; max_clamp or init_factor not positive; max_precond_dim is
        not a whole number from 0.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_kl_shampoo(b1=0.0, shampoo_beta=0.0, init_factor=1.0)
      >>> g = {"w": jnp.array([[3.0, 4.0], [40.0, -30.0]])}
      >>> first, state = tx.update(g, tx.init(g))
      >>> second, state = tx.update(g, state)
      >>> float(jnp.abs(first["w"]).max()), second["w"].round(2).tolist()
      (0.0, [[3.0, 4.0], [40.0, -30.0]])

    Reference: Lin et al., Understanding and Improving Shampoo and SOAP via Kullback-Leibler
    Minimization, ICLR 2026, arXiv:2509.03378.
    """
    del p, b2, shampoo_beta, init_factor, max_precond_dim, state_dtype

    def on_matrices(
        g: Array,
        slots: Slots,
        ctx: StepContext,
        b1: Array,
        eps: Array,
        period: Array,
        max_clamp: Array | None,
    ) -> tuple[Array, dict[str, Array]]:
        bases = bases_of(slots)
        mu = complex_moment(slots.mu, g, b1, ctx.mu_gain)
        values = slots.left_values.real[..., :, None] * slots.right_values.real[..., None, :]
        # 1 / (sqrt(x) + eps), and 0 where an eigenvalue is 0.
        scale = jnp.where(values > 0, 1 / (jnp.sqrt(jnp.where(values > 0, values, 1)) + eps), 0)
        u = rotated_back(times(scale.reshape(g.shape), rotated(mu, bases)), bases)
        u = divided_by_rms(u) if normalize_grads else u
        due = is_due(ctx, period, stagger=stagger)
        return times(ctx.started, u), {"mu": mu} | kl_refreshed(ctx, g, slots, due, max_clamp)

    return on_whole_matrices(on_matrices, g, slots, ctx, b1, eps, precondition_frequency, max_clamp)


@composed
def kl_shampoo(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.98,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    precondition_frequency: ScalarOrSchedule = 10,
    shampoo_beta: ScalarOrSchedule = -1.0,
    max_clamp: ScalarOrSchedule | None = 4000.0,
    weight_decay_mask: MaskOrFn = None,
    *,
    axes: PyTree | Callable[[PyTree], PyTree] | None = None,
    init_factor: float = 0.1,
    max_precond_dim: int = 10000,
    normalize_grads: bool = False,
    stagger: bool = False,
    state_dtype: StateDtype = None,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.999,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
) -> GradientTransformation:
    """KL-Shampoo for matrices, and Adam for all other parameters.

    The update of a matrix is `scale_by_kl_shampoo`, with decoupled decay:

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_kl_shampoo`

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p;
    the authors' default is 1e-4. The first update moves parameters that are not matrices,
    and decays matrices.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      axes: which parameters are matrices, and along which axes: a tree of `MatrixAxes`, a prefix of
        one, or a function of the parameters, with None for the parameters that Adam trains. None
        for `axes_by_name()`, which decides by names and shapes.
      state_dtype: dtype of the slots of matrices.
      See `scale_by_kl_shampoo` and `muon` for the others.

    Differences: the authors decay the parameter after the step, which makes u smaller by a factor
    of 1 - learning_rate weight_decay, and do not decay at the first update.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix (the message lists all parameters).

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.eye(2), "b": jnp.zeros(2), "embedding": jnp.ones((5, 2))}
      >>> state = fo.kl_shampoo(1e-4).init(params)
      >>> state.scale_by_kl_shampoo.left["w"].shape, state.scale_by_kl_shampoo.left["embedding"]
      ((1, 2, 2), MaskedNode())

    Reference: Lin et al., Understanding and Improving Shampoo and SOAP via Kullback-Leibler
    Minimization, ICLR 2026, arXiv:2509.03378.
    """
    leaves = MatrixLeaves.of(axes, "kl_shampoo")
    rule = scale_by_kl_shampoo(
        b1,
        b2,
        eps,
        precondition_frequency,
        shampoo_beta,
        max_clamp,
        init_factor=init_factor,
        max_precond_dim=max_precond_dim,
        normalize_grads=normalize_grads,
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
