"""The Hungarian algorithm, by shortest augmenting paths."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..core.numerics.precision import compute_dtype

__all__ = ["base_hungarian_algorithm", "hungarian_algorithm"]

Array = jax.Array

_NONE = -1
"""Number of the row of a column, or of the column of a row, that has none."""


def hungarian_algorithm(cost_matrix: Any) -> tuple[Array, Array]:
    """Finds the pairs of rows and columns whose costs have the least sum.

    No two pairs share a row or a column; of an n x m matrix there are min(n, m). It takes
    O(min(n, m)^2 max(n, m)) operations, can be jitted and vmapped, and is computed in float32 at
    least.

    Where several assignments have the least sum, it is not said which one is found. The pairs are
    not differentiated; the costs that they pick are.

    Differences: optax's two functions are two implementations, and here are one.

    Args:
      cost_matrix: `(n, m)`, finite numbers; inf forbids a pair, as long as there is an assignment
        without it.

    Returns:
      Rows, in ascending order, and their columns, each `(min(n, m),)`. The sum is
      `cost_matrix[i, j].sum()`.

    Raises:
      ValueError: cost_matrix is no matrix.

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


def base_hungarian_algorithm(cost_matrix: Any) -> tuple[Array, Array]:
    """Finds what `hungarian_algorithm` finds, under the other name that optax has for it.

    Args:
      cost_matrix: `(n, m)`, as there.

    Raises:
      ValueError: cost_matrix is no matrix.

    Example:
      >>> i, j = base_hungarian_algorithm(jnp.array([[1.0, 2.0], [1.0, 5.0]]))
      >>> i.tolist(), j.tolist()
      ([0, 1], [1, 0])
    """
    return _assign("base_hungarian_algorithm", cost_matrix)


def _assign(name: str, cost_matrix: Any) -> tuple[Array, Array]:
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
    """What is assigned so far, and the prices by which it is known to be best.

    Attributes:
      u: price of each row, `(n,)`.
      v: price of each column, `(m,)`.
      column: of each row, `(n,)`.
      row: of each column, `(m,)`.
    """

    u: Array
    v: Array
    column: Array
    row: Array


class _Search(NamedTuple):
    """The search for a shortest path from a row to a column that has no row yet.

    Attributes:
      distance: to each column, by the rows that were reached, `(m,)`.
      before: the row from which each column is reached, `(m,)`.
      done: whether the distance to a column is final, `(m,)`.
      row: the row to go on from, or none at the end.
      last: the column that was done last.
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

    def add(row: Array, found: _Matching) -> _Matching:
        search = _shortest_path(costs, found, row)
        return _augmented(_repriced(found, search, row), search, row)

    none = jnp.full_like(rows, _NONE)
    start = _Matching(
        jnp.zeros(n, costs.dtype), jnp.zeros(m, costs.dtype), none, jnp.full(m, _NONE, rows.dtype)
    )
    return rows, jax.lax.fori_loop(0, n, add, start).column


def _shortest_path(costs: Array, found: _Matching, first: Array) -> _Search:
    """Dijkstra's search over reduced costs, which are not negative."""
    m = costs.shape[1]

    def go_on(search: _Search) -> _Search:
        here = jnp.where(search.row == first, 0.0, search.distance[search.last])
        length = here + costs[search.row] - found.u[search.row] - found.v
        shorter = ~search.done & (length < search.distance)
        distance = jnp.where(shorter, length, search.distance)
        before = jnp.where(shorter, search.row, search.before)
        last = _nearest(distance, search.done, found.row)
        return _Search(distance, before, search.done.at[last].set(True), found.row[last], last)

    start = _Search(
        jnp.full(m, jnp.inf, costs.dtype),
        jnp.full(m, first, found.row.dtype),
        jnp.zeros(m, bool),
        first,
        jnp.zeros((), found.row.dtype),
    )
    return jax.lax.while_loop(lambda search: search.row != _NONE, go_on, start)


def _nearest(distance: Array, done: Array, row: Array) -> Array:
    """Returns the nearest column that is not done; of several, one without a row, if any."""
    nearest = ~done & (distance == jnp.min(jnp.where(done, jnp.inf, distance)))
    # Where distances are NaN, none is nearest, and any that is not done keeps the search going.
    rank = jnp.where(done, 0, jnp.where(nearest, jnp.where(row == _NONE, 3, 2), 1))
    return jnp.argmax(rank).astype(row.dtype)


def _repriced(found: _Matching, search: _Search, first: Array) -> _Matching:
    """Changes the prices so that each step of the path costs nothing, and none costs less."""
    total = search.distance[search.last]
    surplus = jnp.where(search.done, total - search.distance, 0.0)
    of_rows = jnp.where(found.row == _NONE, len(found.u), found.row)
    u = found.u.at[of_rows].add(surplus, mode="drop").at[first].add(total)
    return found._replace(u=u, v=found.v - surplus)


def _augmented(found: _Matching, search: _Search, first: Array) -> _Matching:
    """Assigns along the path, from its end: each row on it gets the column that comes next."""

    def step(at: tuple[Array, _Matching]) -> tuple[Array, _Matching]:
        column, now = at
        row = search.before[column]
        following = jnp.where(row == first, _NONE, now.column[row])
        columns, rows = now.column.at[row].set(column), now.row.at[column].set(row)
        return following, now._replace(column=columns, row=rows)

    start = search.last, found
    return jax.lax.while_loop(lambda at: at[0] != _NONE, step, start)[1]
