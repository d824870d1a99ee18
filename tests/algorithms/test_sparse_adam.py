"""SparseAdam: Adam of the rows that have a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..sparse import TABLE, Rows, draw


def rows_of_numpy(grads, start, lr, b1=0.9, b2=0.999, eps=1e-8):
    """Updates row by row, each with its own m and v; the time is that of the table."""
    p = np.array(start, np.float64)
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        for i in g.touched:
            m[i] = b1 * m[i] + (1 - b1) * g.dense[i]
            v[i] = b2 * v[i] + (1 - b2) * g.dense[i] ** 2
            step = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
            p[i] -= step * m[i] / (np.sqrt(v[i]) + eps)
    return p, m, v


def run(tx, start, grads):
    step = jax.jit(problem.step_of(tx))
    params, state = jnp.asarray(start), tx.init(jnp.asarray(start))
    for g in grads:
        params, state = step(params, state, g.sparse)
    return params, state.scale_by_sparse_adam


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("eps", [1e-8, 0.5])
def test_rows_move_as_in_numpy(eps):
    start = np.random.default_rng(0).standard_normal(TABLE)
    grads = [draw(seed, 4, np.float64) for seed in range(20)]
    params, state = run(fo.sparse_adam(0.1, eps=eps), start, grads)
    p, m, v = rows_of_numpy(grads, start, 0.1, eps=eps)
    np.testing.assert_allclose(params, p, rtol=1e-12)
    np.testing.assert_allclose(state.m, m, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(state.v, v, rtol=1e-12, atol=1e-300)


def test_stored_zeros_decay_the_moments_and_no_rows_decay_nothing():
    one = Rows(np.ones((1, 3), np.float32), np.array([2]))
    zero = Rows(np.zeros((1, 3), np.float32), np.array([2]))
    none = Rows(np.zeros((0, 3), np.float32), np.zeros(0, int))
    _, start = run(fo.sparse_adam(0.1), np.zeros(TABLE), [one])
    _, decayed = run(fo.sparse_adam(0.1), np.zeros(TABLE), [one, zero])
    _, rested = run(fo.sparse_adam(0.1), np.zeros(TABLE), [one, none])
    np.testing.assert_allclose(decayed.m[2], 0.9 * start.m[2], rtol=1e-6)
    assert rested.m.tolist() == start.m.tolist()
    assert int(rested.count) == int(decayed.count) == 2


def test_a_row_that_comes_late_starts_with_a_step_three_times_as_long():
    late = Rows(np.full((1, 3), 7.0, np.float32), np.array([1]))
    tx = fo.scale_by_sparse_adam()
    state = tx.init(jnp.zeros(TABLE))._replace(count=jnp.array(5000))
    updates, _ = tx.update(late.sparse, state)
    np.testing.assert_allclose(updates.data, 0.1 / np.sqrt(0.001), rtol=5e-3)


@pytest.mark.usefixtures("x64")
def test_with_eps_small_a_dense_run_is_adam():
    grads = np.random.default_rng(1).standard_normal((20, 5))
    start = jnp.zeros(5)
    lazy, _, _ = problem.train(fo.sparse_adam(0.1, eps=1e-300), start, jnp.asarray(grads))
    adam, _, _ = problem.train(fo.adam(0.1, eps=0.0), start, jnp.asarray(grads))
    np.testing.assert_allclose(lazy, adam, rtol=1e-12)
