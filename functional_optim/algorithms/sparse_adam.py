"""SparseAdam: Adam on the rows that have a gradient."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import MeanWeights, running_mean
from ..core.precision import one_minus_power, safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer

__all__ = ["scale_by_sparse_adam", "sparse_adam"]

Array = jax.Array


def _clock(
    t: Array, last: Mapping[str, Array], b1: Array, b2: Array, eps: Array
) -> tuple[dict[str, Any], dict[str, Array]]:
    del last, eps
    t = jnp.maximum(t, 1)  # a leaf without an update yet is not computed
    return {"correction": jnp.sqrt(one_minus_power(b2, t)) / one_minus_power(b1, t)}, {}


@leaf_rule(
    slots=lambda p: {"m": jnp.zeros_like(p), "v": jnp.zeros_like(p)},
    clock=_clock,
    bounds={"b1": "[0, 1)", "b2": "[0, 1)", "eps": "(0, inf)"},
    rows=True,
)
def scale_by_sparse_adam(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-8,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by their running root mean square, row by row.

    For the rows of one parameter of shape `*p` that its update number t = 1, 2, ... has:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        u  = sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)

    All other rows rest, and so do their m and v. A row counts as updated where the gradient
    has it, even with zeros; t counts the updates of the parameter, not of the row. So a row
    that first has a gradient late starts with m and v of a tenth and a thousandth, which
    nothing corrects: its first step is three times as long. A dense update has all rows.

    The state keeps m and v, of shape `*p`. `b1`, `b2` `()` have no unit; `eps` `()` is in
    units of g; u has no unit.

    Differences: none from torch's SparseAdam. From `scale_by_adam`, eps is added before the
    bias correction, and m and v are kept as they are, for their correction is not the row's.

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
    del p
    m = running_mean(slots.m, g, MeanWeights(0.0, 1 - b1))
    v = running_mean(slots.v, jnp.square(g), MeanWeights(0.0, 1 - b2))
    return now.correction * m / (safe_sqrt(v) + eps), {"m": m, "v": v}


@optimizer(scale_by_sparse_adam)
def sparse_adam() -> None:
    """SparseAdam: `scale_by_sparse_adam`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p.

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
