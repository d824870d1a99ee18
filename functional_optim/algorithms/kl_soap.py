"""KL-SOAP: Adam in the eigenbases of KL-Shampoo."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.matrices import squares, times
from ..core.numerics.precision import real_dtype
from ..core.protocol import GradientTransformation, Hyperparameter, PyTree
from ..core.rules.arguments import Decay, NonNegative, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.matrices import MatrixLeaves, on_matrices
from .eigenbases import (
    FAILURES,
    bases_of,
    check_sides,
    complex_moment,
    divided_by_rms,
    divided_by_root,
    is_due,
    on_whole_matrices,
    rotated,
)
from .kl_shampoo import Clamp, InitFactor, kl_refreshed, kl_scalars, kl_slots
from .with_adam import with_adam_for_others

__all__ = ["kl_soap", "scale_by_kl_soap"]

Array = jax.Array


@leaf_rule(
    slots=lambda p, max_precond_dim, init_factor: {
        "mu": jnp.zeros_like(p),
        "nu": jnp.zeros_like(p, real_dtype(p.dtype)),
        **kl_slots(p, max_precond_dim, init_factor),
    },
    step_scalars=kl_scalars,
    tree_stats=FAILURES,
    split_complex=False,
    check=check_sides,
)
def scale_by_kl_soap(
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
    """Runs Adam in the eigenbases of KL-Shampoo's factors.

    The last two axes of a leaf are a matrix, and all other axes are batch axes; a vector is a
    matrix of one row. The first update makes the bases and returns 0. For one matrix at each later
    update:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) (Q_L^T g Q_R)^2
        u  = Q_L ((Q_L^T m Q_R) / (sqrt(v) + eps)) Q_R^T

    The factors L and R, their eigenvalues and their bases Q_L and Q_R change after that, as in
    `scale_by_kl_shampoo`, with decay shampoo_beta, or b2 if shampoo_beta is negative. There is no
    bias correction.

    The state has the slots and the metric `failed_refreshes` of `scale_by_kl_shampoo`, and v as
    `nu` in units of g^2. `b1`, `b2` `()` have no unit; eps `()` is in units of g; u has no unit.

    Args:
      b1: decay of m, in [0, 1).
      b2: decay of v, and of the factors if shampoo_beta is negative; in [0, 1).
      eps: added to the root; in units of g.
      See `scale_by_kl_shampoo` for the others.

    Differences: the numbers are those of the authors' code up to its precision, which is bfloat16
    except in the decompositions. As in that code, the elements of v are not moved when the bases
    change. That code keeps m rotated into the bases, which is equivalent while the bases are
    orthogonal.

    Raises:
      ValueError: as for `scale_by_kl_shampoo`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_kl_soap(b1=0.0, b2=0.0, eps=1e-3)
      >>> g = {"w": jnp.array([[3.0, 4.0], [40.0, -30.0]])}
      >>> first, state = tx.update(g, tx.init(g))
      >>> second, state = tx.update(g, state)
      >>> float(jnp.abs(first["w"]).max()), [f"{u:.2f}" for u in second["w"].ravel()]
      (0.0, ['0.60', '0.80', '0.80', '-0.60'])

    Reference: Lin et al., Understanding and Improving Shampoo and SOAP via Kullback-Leibler
    Minimization, ICLR 2026, arXiv:2509.03378.
    """
    del p, shampoo_beta, init_factor, max_precond_dim, state_dtype

    def on_matrices(
        g: Array,
        slots: Slots,
        ctx: StepContext,
        b1: Array,
        b2: Array,
        eps: Array,
        period: Array,
        max_clamp: Array | None,
    ) -> tuple[Array, dict[str, Array]]:
        bases = bases_of(slots)
        mu = complex_moment(slots.mu, g, b1, ctx.mu_gain)
        # The weight of the first update is 0, and 0 times a square that overflows would be NaN.
        square = jnp.where(ctx.first, 0.0, squares(rotated(g, bases)))
        nu = complex_moment(slots.nu.real, square, b2, ctx.nu_gain)
        u = divided_by_root(mu, nu, eps, bases)
        u = divided_by_rms(u) if normalize_grads else u
        due = is_due(ctx, period, stagger=stagger)
        new = kl_refreshed(ctx, g, slots, due, max_clamp)
        return times(ctx.started, u), {"mu": mu, "nu": nu} | new

    return on_whole_matrices(
        on_matrices, g, slots, ctx, b1, b2, eps, precondition_frequency, max_clamp
    )


@composed
def kl_soap(
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
    """KL-SOAP for matrices, and Adam for all other parameters.

    The update of a matrix is `scale_by_kl_soap`, with decoupled decay:

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_kl_soap`

    The update of all other parameters is `scale_by_adam` with `adam_weight_decay`, and with the
    same learning rate unless `adam_learning_rate` is given. `learning_rate` `()` is in units of p;
    the authors' default is 1e-4. The first update moves parameters that are not matrices, and
    decays matrices.

    Args:
      weight_decay_mask: which matrices decay; see `masked`.
      axes: which parameters are matrices, and along which axes: a tree of `MatrixAxes`, a prefix of
        one, or a function of the parameters, with None for the parameters that Adam trains. None
        for `axes_by_name()`, which decides by names and shapes.
      state_dtype: dtype of the slots of matrices.
      See `scale_by_kl_soap`, `scale_by_kl_shampoo` and `muon` for the others.

    Differences: the authors decay the parameter after the step, which makes u smaller by a factor
    of 1 - learning_rate weight_decay, and do not decay at the first update.

    Raises:
      ValueError: an argument is out of its range; axes do not fit a parameter; or names and
        shapes do not tell whether a parameter is a matrix (the message lists all parameters).

    Example:
      >>> import functional_optim as fo
      >>> params = {"w": jnp.eye(2), "b": jnp.zeros(2), "embedding": jnp.ones((5, 2))}
      >>> state = fo.kl_soap(1e-4).init(params)
      >>> state.scale_by_kl_soap.left["w"].shape, state.scale_by_kl_soap.left["embedding"]
      ((1, 2, 2), MaskedNode())

    Reference: Lin et al., Understanding and Improving Shampoo and SOAP via Kullback-Leibler
    Minimization, ICLR 2026, arXiv:2509.03378.
    """
    leaves = MatrixLeaves.of(axes, "kl_soap")
    rule = scale_by_kl_soap(
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
