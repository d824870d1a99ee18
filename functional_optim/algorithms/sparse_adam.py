"""SparseAdam: Adam that updates only the rows that have a gradient."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, moment
from ..core.numerics.precision import one_minus_power, safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, Positive, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["scale_by_sparse_adam", "sparse_adam"]

Array = jax.Array


def _step_scalars(t: Array, b1: Array, b2: Array) -> dict[str, Array]:
    """Computes the weights and the bias correction of update number t."""
    correction = jnp.sqrt(one_minus_power(b2, t)) * bias_correction(b1, t)
    return {"m_gain": 1 - b1, "v_gain": 1 - b2, "correction": correction}


@leaf_rule(
    slots=lambda p: {"m": jnp.zeros_like(p), "v": jnp.zeros_like(p)},
    step_scalars=_step_scalars,
    row_sparse=True,
)
def scale_by_sparse_adam(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Positive = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by their running root mean square, row by row.

    For the rows of one parameter of shape `*p` that update number t = 1, 2, ... contains:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        u  = sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)

    All other rows, and their m and v, do not change. A row is updated if the gradient contains
    it, even with zeros; t counts the updates of the parameter, not of the row. So if the first
    gradient of a row comes late, its m and v start at a tenth of g and a thousandth of g^2 without
    a correction, and its first step is about three times as large. A dense update contains all
    rows.

    The state keeps m and v, of shape `*p`. `b1`, `b2` `()` have no unit; `eps` `()` is in
    units of g; u has no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root, above 0; in units of g.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from torch's SparseAdam. Unlike in `scale_by_adam`, eps is added before the
    bias correction.

    Raises:
      ValueError: b1 or b2 outside [0, 1), or eps <= 0.

    Example:
      >>> import functional_optim as fo
      >>> params = {"table": jnp.zeros((4, 2))}
      >>> rows = fo.row_sparse(jnp.array([[10.0, -0.1]]), jnp.array([2]), (4, 2))
      >>> tx = fo.scale_by_sparse_adam()
      >>> updates, state = tx.update({"table": rows}, tx.init(params))
      >>> updates["table"].todense().round(4).tolist()
      [[0.0, 0.0], [0.0, 0.0], [1.0, -1.0], [0.0, 0.0]]

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, section 2,
    arXiv:1412.6980: its second order of computation; for rows as in torch.optim.SparseAdam.
    """
    del p, state_dtype
    m = moment(slots.m, g, b1, ctx.m_gain)
    v = moment(slots.v, jnp.square(g), b2, ctx.v_gain)
    return ctx.correction * (m / (eps + safe_sqrt(v))), {"m": m, "v": v}


@composed
def sparse_adam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """SparseAdam: `scale_by_sparse_adam`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p.

    Args:
      See `scale_by_sparse_adam` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> params = {"table": jnp.zeros((4, 2))}
      >>> rows = fo.row_sparse(jnp.array([[10.0, -0.1]]), jnp.array([2]), (4, 2))
      >>> tx = fo.sparse_adam(0.5)
      >>> updates, state = tx.update({"table": rows}, tx.init(params))
      >>> fo.apply_updates(params, updates)["table"].round(4).tolist()
      [[0.0, 0.0], [0.0, 0.0], [-0.5, 0.5], [0.0, 0.0]]

    Reference: torch.optim.SparseAdam, on Kingma & Ba, Adam: A Method for Stochastic
    Optimization, ICLR 2015, section 2, arXiv:1412.6980.
    """
    return chain(
        scale_by_sparse_adam(b1, b2, eps, state_dtype=state_dtype),
        scale_by_learning_rate(learning_rate),
    )
