"""Making sparse updates dense, for transformations that need all rows."""

import jax

from ..core.protocol import GradientTransformation, PyTree, Stateless
from ..core.state import State
from ..core.trees.sparse_rows import dense
from ..core.trees.structure import is_sparse

__all__ = ["densify"]


def densify_update(
    updates: PyTree, state: State, params: PyTree | None = None, **extra: object
) -> tuple[PyTree, State]:
    """Makes every sparse update dense."""
    del params, extra
    return jax.tree.map(dense, updates, is_leaf=is_sparse), state


def densify() -> GradientTransformation:
    """Makes sparse updates dense, for transformations that need all rows, and keeps no state.

    After this link, the cost of a step grows with the size of the table. Put transformations that
    accept sparse updates, such as `clip_by_global_norm`, before this one.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> params = {"table": jnp.zeros(3)}
      >>> grads = {"table": fo.row_sparse(jnp.ones(2), jnp.array([0, 0]), (3,))}
      >>> tx = fo.chain(fo.densify(), fo.sgd(0.5, momentum=0.9))
      >>> tx.update(grads, tx.init(params))[0]
      {'table': Array([-1., -0., -0.], dtype=float32)}
    """
    return GradientTransformation(Stateless("densify"), densify_update)
