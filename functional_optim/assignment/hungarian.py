"""The Hungarian algorithm, by shortest augmenting paths."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype

__all__ = ["base_hungarian_algorithm", "hungarian_algorithm"]

Array = jax.Array

_NONE = -1
"""Index of the row of an unassigned column, and of the column of an unassigned row."""


def hungarian_algorithm(cost_matrix: ArrayLike) -> tuple[Array, Array]:
    """Finds the pairs of rows and columns whose costs have the least sum.

    No two pairs share a row or a column; an n x m matrix has min(n, m) pairs. The search takes
    O(min(n, m)^2 max(n, m)) operations, can be jitted and vmapped, and is computed in float32 at
    least.

    Where several assignments have the least sum, any of them may be returned. The pairs are not
    differentiable; the costs that they select are.

    Differences: optax has two implementations under two names; here both names are one
    implementation.

    Args:
      cost_matrix: `(n, m)`, finite numbers; inf forbids a pair, if there is an assignment without
        it.

    Returns:
      Rows i, in ascending order, and their columns j, each `(min(n, m),)`. The least sum is
      `cost_matrix[i, j].sum()`.

    Raises:
      ValueError: cost_matrix does not have two axes.

    Example:
      >>> costs = jnp.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])
      >>> i, j = hungarian_algorithm(costs)
      >>> j.tolist(), float(costs[i, j].sum())
      ([1, 0, 2], 5.0)

    Reference: Crouse, On implementing 2D rectangular assignment algorithms, IEEE Transactions on
    Aerospace and Electronic Systems, 2016, section II; Jonker & Volgenant, A shortest augmenting
    path algorithm for dense and sparse linear assignment problems, Computing, 1987.
    """
    return _assign("hungarian_algorithm", cost_matrix)


def base_hungarian_algorithm(cost_matrix: ArrayLike) -> tuple[Array, Array]:
    """Finds the pairs of least total cost; another name of `hungarian_algorithm`, as in optax.

    Args:
      cost_matrix: `(n, m)`, finite numbers or inf.

    Raises:
      ValueError: cost_matrix does not have two axes.

    Example:
      >>> i, j = base_hungarian_algorithm(jnp.array([[1.0, 2.0], [1.0, 5.0]]))
      >>> i.tolist(), j.tolist()
      ([0, 1], [1, 0])
    """
    return _assign("base_hungarian_algorithm", cost_matrix)


def _assign(name: str, cost_matrix: ArrayLike) -> tuple[Array, Array]:
    costs = jax.lax.stop_gradient(jnp.asarray(cost_matrix))
    if costs.ndim != 2:
        raise ValueError(
            f"{name}: cost_matrix must be a matrix (rows, columns), got shape {costs.shape}. For "
            "several matrices, use jax.vmap."
        )
    is_real = jnp.issubdtype(costs.dtype, jnp.floating)
    costs = costs.astype(compute_dtype(costs.dtype) if is_real else float)
    n, m = costs.shape
    if n > m:
        column, row = _rows_to_columns(costs.T)
        order = jnp.argsort(row)
        return row[order], column[order]
    return _rows_to_columns(costs)


class _Matching(NamedTuple):
    """A partial assignment, and dual variables (prices) that prove that it is optimal.

    Attributes:
      u: price of each row, `(n,)`.
      v: price of each column, `(m,)`.
      column: index of the column of each row, `(n,)`.
      row: index of the row of each column, `(m,)`.
    """

    u: Array
    v: Array
    column: Array
    row: Array


class _Search(NamedTuple):
    """The search for a shortest path from a row to an unassigned column.

    Attributes:
      distance: shortest distance to each column through the rows reached so far, `(m,)`.
      before: the row from which each column is reached, `(m,)`.
      done: whether the distance to a column is final, `(m,)`.
      row: the row to continue from; -1 at the end.
      last: the column whose distance became final last.
    """

    distance: Array
    before: Array
    done: Array
    row: Array
    last: Array


def _rows_to_columns(costs: Array) -> tuple[Array, Array]:
    """Assigns a column to each row of a matrix that has no more rows than columns."""
    n, m = costs.shape
    rows = jnp.arange(n)
    if not n:
        return rows, rows

    def add(row: Array, matching: _Matching) -> _Matching:
        search = _shortest_path(costs, matching, row)
        return _augmented(_repriced(matching, search, row), search, row)

    # Rows are added one by one, and each matching is optimal for the rows so far.
    unassigned = jnp.full_like(rows, _NONE)
    start = _Matching(
        jnp.zeros(n, costs.dtype),
        jnp.zeros(m, costs.dtype),
        unassigned,
        jnp.full(m, _NONE, rows.dtype),
    )
    return rows, jax.lax.fori_loop(0, n, add, start).column


def _shortest_path(costs: Array, matching: _Matching, first: Array) -> _Search:
    """Runs Dijkstra's search over reduced costs, which are not negative."""
    m = costs.shape[1]

    def advance(search: _Search) -> _Search:
        distance_to_row = jnp.where(search.row == first, 0.0, search.distance[search.last])
        length = distance_to_row + costs[search.row] - matching.u[search.row] - matching.v
        shorter = ~search.done & (length < search.distance)
        distance = jnp.where(shorter, length, search.distance)
        before = jnp.where(shorter, search.row, search.before)
        last = _nearest(distance, search.done, matching.row)
        return _Search(distance, before, search.done.at[last].set(True), matching.row[last], last)

    start = _Search(
        jnp.full(m, jnp.inf, costs.dtype),
        jnp.full(m, first, matching.row.dtype),
        jnp.zeros(m, bool),
        first,
        jnp.zeros((), matching.row.dtype),
    )
    return jax.lax.while_loop(lambda search: search.row != _NONE, advance, start)


def _nearest(distance: Array, done: Array, row: Array) -> Array:
    """Returns the nearest column that is not done, and prefers unassigned columns on a tie."""
    nearest = ~done & (distance == jnp.min(jnp.where(done, jnp.inf, distance)))
    # With NaN distances no column is nearest; any column that is not done lets the search end.
    rank = jnp.where(done, 0, jnp.where(nearest, jnp.where(row == _NONE, 3, 2), 1))
    return jnp.argmax(rank).astype(row.dtype)


def _repriced(matching: _Matching, search: _Search, first: Array) -> _Matching:
    """Updates the prices: reduced costs become 0 along the path and stay non-negative elsewhere."""
    total = search.distance[search.last]
    surplus = jnp.where(search.done, total - search.distance, 0.0)
    # An index out of range drops the surplus of an unassigned column.
    rows = jnp.where(matching.row == _NONE, len(matching.u), matching.row)
    u = matching.u.at[rows].add(surplus, mode="drop").at[first].add(total)
    return matching._replace(u=u, v=matching.v - surplus)


def _augmented(matching: _Matching, search: _Search, first: Array) -> _Matching:
    """Reassigns along the path, from its end: each row gets the column that follows it."""

    def step(carry: tuple[Array, _Matching]) -> tuple[Array, _Matching]:
        column, current = carry
        row = search.before[column]
        following = jnp.where(row == first, _NONE, current.column[row])
        columns, rows = current.column.at[row].set(column), current.row.at[column].set(row)
        return following, current._replace(column=columns, row=rows)

    start = search.last, matching
    return jax.lax.while_loop(lambda carry: carry[0] != _NONE, step, start)[1]
