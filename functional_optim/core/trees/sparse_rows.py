"""Row-sparse updates: a BCOO of some rows, for a parameter that is a dense array."""

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from ..numerics.precision import cast
from ..protocol import PyTree
from .structure import is_sparse

if TYPE_CHECKING:
    from jax.experimental.sparse import BCOO

__all__ = [
    "Rows",
    "check_rows",
    "coalesced",
    "dense",
    "empty_rows",
    "row_sparse",
    "coalesce_rows",
]

Array = jax.Array


def row_sparse(rows: ArrayLike, indices: ArrayLike, shape: tuple[int, ...]) -> Any:
    """Makes the gradient of a table out of the gradients of rows that were read from it.

    Differentiate with respect to the rows, not the table: neither the gradient nor the step
    then costs more than the rows.

    Args:
      rows: `(*i, *d)`, one row for each index.
      indices: integers `(*i)`, in any order. Rows of equal indices are summed, and rows of
        indices outside the table are dropped.
      shape: `(n, *d)`, of the table.

    Returns:
      A `jax.experimental.sparse.BCOO` of that shape, with one sparse dimension.

    Raises:
      ValueError: the shapes do not fit one another.
      TypeError: `shape` is not a tuple.

    Example:
      >>> import functional_optim as fo
      >>> params = {"table": jnp.zeros((1000, 2))}
      >>> ids = jnp.array([3, 7, 3])
      >>> grads = jax.grad(lambda rows: rows.sum())(params["table"][ids])
      >>> grads = {"table": fo.row_sparse(grads, ids, params["table"].shape)}
      >>> tx = fo.sgd(0.5)
      >>> updates, _ = tx.update(grads, tx.init(params), params)
      >>> fo.apply_updates(params, updates)["table"][jnp.array([3, 7])].tolist()
      [[-1.0, -1.0], [-0.5, -0.5]]
    """
    from jax.experimental.sparse import BCOO

    rows, indices = jnp.asarray(rows), jnp.asarray(indices)
    if not isinstance(shape, tuple):
        raise TypeError(f"row_sparse: shape must be the table's, a tuple, got {shape!r}.")
    if not shape or rows.shape != (*indices.shape, *shape[1:]):
        raise ValueError(
            f"row_sparse: rows of shape {rows.shape} do not fit indices of shape "
            f"{indices.shape} and a table of shape {tuple(shape)}. Pass one row of the table for "
            "each index."
        )
    rows = rows.reshape(indices.size, *shape[1:])
    return BCOO((rows, indices.reshape(indices.size, 1)), shape=shape)


def dense(x: Any) -> Any:
    """Converts a sparse array to a dense one; returns anything else unchanged."""
    return x.todense() if is_sparse(x) else x


def empty_rows(like: "BCOO") -> "BCOO":
    """Makes an empty sparse update, with the shapes of another: all its rows are out of range."""
    # The number of rows is out of range, unless the indices' dtype cannot hold it.
    outside = min(like.shape[0], jnp.iinfo(like.indices.dtype).max)
    children, treedef = jax.tree.flatten(like)
    # The data are -0, because adding that changes no bit of a parameter.
    empty = [jnp.full_like(x, -0.0 if x is like.data else outside) for x in children]
    return jax.tree.unflatten(treedef, empty)


def check_rows(where: str, x: object) -> None:
    """Raises ValueError if a sparse array is not a BCOO of rows; `where` begins the message."""
    indices: Any = getattr(x, "indices", None)
    kind, n_batch, n_sparse = (
        type(x).__name__,
        getattr(x, "n_batch", None),
        getattr(x, "n_sparse", None),
    )
    if (kind, n_batch, n_sparse) != ("BCOO", 0, 1):
        raise ValueError(
            f"{where} is a {kind} with n_batch={n_batch}, n_sparse={n_sparse}. A sparse array must "
            "be a BCOO with n_batch=0 and n_sparse=1: pass one that row_sparse makes, or its "
            "todense()."
        )
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(
            f"{where} is a BCOO whose indices have dtype {indices.dtype}: a transformation that "
            "does not know sparse arrays has changed them. Put densify() in front of it."
        )


@functools.partial(jax.jit, static_argnums=1)
def coalesced(g: "BCOO", dtype: DTypeLike) -> "BCOO":
    """Sums rows of equal indices, so that each row occurs once, with values in `dtype`.

    The number of rows stays, so that shapes do not depend on values: the rows after the last
    distinct index are zero, and their indices out of range, as JAX pads a BCOO. Negative indices
    count from the end, as in `todense`.
    """
    n = g.shape[0]
    data, index = cast(g.data, dtype), g.indices[:, 0]
    # Bounded first, so that no index overflows in the cast to int32; n is out of range.
    index = jnp.minimum(index, min(n, jnp.iinfo(index.dtype).max))
    index = index.astype(index.dtype if index.dtype in (jnp.int32, jnp.int64) else jnp.int32)
    index = jnp.where(index < 0, index + n, index)
    index = jnp.where(index < 0, n, index)
    if not g.unique_indices:
        # After sorting, equal indices are neighbours. `position` numbers the distinct indices, and
        # the rows of one index are added there.
        order = jnp.argsort(index)
        index, data = index[order], data[order]
        position = jnp.cumsum(jnp.diff(index, prepend=-1) != 0) - 1
        data = jnp.zeros_like(data).at[position].add(data)
        # Positions after the last distinct index get the index n, which is out of range.
        index = jnp.full_like(index, n).at[position].set(index)
    return _bcoo(g, data, index)


def coalesce_rows(tree: PyTree) -> PyTree:
    """Coalesces the sparse arrays in a tree, in their dtypes."""
    return jax.tree.map(
        lambda g: coalesced(g, g.dtype) if is_sparse(g) else g, tree, is_leaf=is_sparse
    )


def _bcoo(like: "BCOO", data: Array, index: Array) -> "BCOO":
    """Makes a BCOO of rows that occur once; rows out of range become zero."""
    inside = jnp.expand_dims(index < like.shape[0], range(1, data.ndim))
    data = jnp.where(inside, data, jnp.zeros_like(data))
    return type(like)((data, index[:, None]), shape=like.shape, unique_indices=True)


class Rows:
    """The rows of a leaf that have an update: the rows of a BCOO, or all rows.

    Args:
      update: a dense array, or a coalesced BCOO.

    Attributes:
      values: the update of these rows.
    """

    def __init__(self, update: Any):
        self._sparse: Any = update if is_sparse(update) else None
        self.values: Array = update.data if is_sparse(update) else update

    def of(self, tree: PyTree) -> PyTree:
        """Gathers these rows of arrays that are shaped like the leaf."""
        return tree if self._sparse is None else jax.tree.map(self._take, tree)

    def _take(self, x: Array) -> Array:
        if not x.shape[0]:  # `get` cannot even clip its indices there
            return jnp.zeros(self.values.shape, x.dtype)
        return x.at[self._sparse.indices[:, 0]].get(mode="clip")

    def put(self, x: Array, rows: Array) -> Array:
        """Writes other values into these rows of an array, in place if x is donated."""
        if self._sparse is None:
            return rows
        index = self._sparse.indices[:, 0]
        # Coalesced rows occur once, so that XLA may write them in any order.
        return x.at[index].set(rows, mode="drop", unique_indices=True)

    def update(self, values: Array) -> Any:
        """Makes an update of these rows with other values."""
        if self._sparse is None:
            return values
        return _bcoo(self._sparse, values, self._sparse.indices[:, 0])
