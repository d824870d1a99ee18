"""Dion and Dion2: identities, limits, and matrices that are special."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.algorithms.dion import randomized_cholesky_qr

SHAPES = [(4, 6), (6, 4), (5, 5), (1, 4)]
EXACT = {"ns_coeffs": (1.5, -0.5, 0.0), "ns_steps": 40, "eps": 0.0}


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def polar(g):
    u, _, v = np.linalg.svd(np.asarray(g), full_matrices=False)
    return u @ v


def run(tx, gradients, params=None, state=None):
    """Returns the updates of some steps, and the state after them."""
    state = tx.init(gradients[0]) if state is None else state
    updates, step = [], jax.jit(tx.update)
    for g in gradients:
        u, state = step(g, state, params)
        updates.append(u)
    return updates, state


@pytest.mark.usefixtures("x64")
def test_at_full_rank_the_momentum_of_dion_is_a_decaying_sum():
    gradients = [[normal(shape, t) for shape in SHAPES] for t in range(6)]
    tx, means = fo.scale_by_dion(beta=0.8), [np.zeros(shape) for shape in SHAPES]
    state, step = tx.init(gradients[0]), jax.jit(tx.update)
    for gs in gradients:
        _, state = step(gs, state)
        means = [0.8 * (m + np.asarray(g)) for m, g in zip(means, gs, strict=True)]
        for found, m in zip(state.mu, means, strict=True):
            np.testing.assert_allclose(found, m, rtol=1e-12, atol=1e-12, err_msg=str(m.shape))


@pytest.mark.usefixtures("x64")
def test_for_one_gradient_dion_comes_to_orthogonalize_the_momentum():
    factors = [np.linalg.svd(normal(shape), full_matrices=False) for shape in SHAPES]
    gs = [jnp.asarray(u * 2.0 ** -np.arange(s.size) @ v) for u, s, v in factors]
    updates, state = run(fo.scale_by_dion(), [gs] * 80)
    for g, found, q, (u, s, v) in zip(gs, updates[-1], state.q, factors, strict=True):
        np.testing.assert_allclose(found, polar(g), atol=1e-6, err_msg=str(g.shape))
        # Q has the singular vectors of the shorter side, up to signs.
        side = v.T if g.shape[0] > g.shape[1] else u
        overlaps = np.abs(np.asarray(q).T @ side)
        np.testing.assert_allclose(overlaps, np.eye(s.size), atol=1e-6, err_msg=str(g.shape))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_at_low_rank_dion_comes_to_the_leading_vectors_of_what_it_has_not_applied(shape):
    g = normal(shape)
    updates, state = run(fo.scale_by_dion(rank_fraction=0.5), [g] * 3)
    assert np.linalg.matrix_rank(updates[-1]) == 2
    before = state.mu + g
    updates, state = run(fo.scale_by_dion(rank_fraction=0.5), [g], state=state)
    # The step is the momentum's projection on P. The momentum loses 0.05 of that projection.
    longer = updates[0] if shape[0] > shape[1] else updates[0].T
    p, _ = np.linalg.qr(longer @ state.q)
    m = np.asarray(before if shape[0] > shape[1] else before.T)
    after = m - 0.05 * p @ p.T @ m
    np.testing.assert_allclose(state.mu, after if shape[0] > shape[1] else after.T, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_a_matrix_of_rank_one_is_orthogonalized_at_once():
    g = jnp.outer(normal((5,)), normal((3,), 1))
    u, _ = run(fo.scale_by_dion(rank_fraction=0.3), [g])
    np.testing.assert_allclose(u[0], g / jnp.linalg.norm(g), rtol=1e-7)


def test_directions_that_the_momentum_lacks_are_not_applied():
    g = jnp.outer(normal((9,)), normal((6,), 1)) + jnp.outer(normal((9,), 2), normal((6,), 3))
    (u,), _ = run(fo.scale_by_dion(), [g.astype(jnp.float32)])
    values = np.linalg.svd(u)[1]
    assert (values[:2] > 0.5).all()
    assert (values[2:] < 1e-5).all()


RULES = {
    "dion": lambda: fo.scale_by_dion(rank_fraction=0.5),
    "dion2": lambda: fo.scale_by_dion2(fraction=0.5),
}


def with_q(state, q):
    return state._replace(q=q) if "q" in state._fields else state


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(6, 3)])
def test_the_transpose_has_the_transposed_updates(rule, shape):
    tx, gradients = RULES[rule](), [normal(shape, t) for t in range(4)]
    q = normal((min(shape), min(shape) // 2 + min(shape) % 2), 9)
    ours, state = run(tx, gradients, state=with_q(tx.init(gradients[0]), q))
    flipped = [g.T for g in gradients]
    theirs, other = run(tx, flipped, state=with_q(tx.init(flipped[0]), q))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(state.mu, other.mu.T, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rule", RULES)
def test_a_stack_is_separate_matrices(rule):
    tx, gradients = RULES[rule](), [normal((2, 3, 4, 6), t) for t in range(4)]
    q = normal((2, 3, 4, 2), 9)
    together, _ = run(tx, gradients, state=with_q(tx.init(gradients[0]), q))
    for i in np.ndindex(2, 3):
        alone, _ = run(tx, [g[i] for g in gradients], state=with_q(tx.init(gradients[0][i]), q[i]))
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("make", [fo.dion, fo.dion2])
def test_axes_turn_a_weight_and_scale_it_by_its_outputs(make):
    w, g = normal((3, 5)), normal((3, 5), 1)
    updates = {}
    for name, axes, turned in (
        ("plain", fo.MatrixAxes(0, 1), lambda x: x),
        ("torch", fo.MatrixAxes(1, 0), jnp.transpose),
    ):
        tx = make(0.1, axes={"w": axes, "b": None})
        params = {"w": turned(w), "b": jnp.ones(5)}
        grads = {"w": turned(g), "b": jnp.ones(5)}
        u, _ = jax.jit(tx.update)(grads, tx.init(params), params)
        updates[name] = turned(u["w"])
    np.testing.assert_allclose(updates["plain"], updates["torch"], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rule", RULES)
def test_a_zero_gradient_is_a_zero_update_and_keeps_the_state_finite(rule):
    tx, g = RULES[rule](), normal((4, 6)).astype(jnp.float32)
    zeros = jnp.zeros_like(g)
    (u, then), state = run(tx, [zeros, g])
    assert (u == 0).all()
    assert jnp.isfinite(then).all()
    assert jnp.abs(then).max() > 0.1
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((state.mu, state._asdict().get("q"))))


def test_zeros_keep_q():
    tx = fo.scale_by_dion()
    g = normal((3, 3)).astype(jnp.float32)
    _, state = run(tx, [g])
    zeroed = state._replace(mu=jnp.zeros_like(g))
    _, after = run(tx, [jnp.zeros_like(g)], state=zeroed)
    np.testing.assert_allclose(after.q, state.q, rtol=1e-6)


def test_the_first_q_follows_from_key_and_leaf():
    params = dict.fromkeys("ab", normal((3, 4)).astype(jnp.float32))

    def first(key):
        tx = fo.scale_by_dion(key=key)
        return jax.jit(tx.update)(params, tx.init(params))[1].q

    one, two = first(0), first(jax.random.key(1))
    assert (first(0)["a"] == one["a"]).all()
    assert not jnp.allclose(jnp.abs(one["a"]), jnp.abs(two["a"]))
    assert not jnp.allclose(jnp.abs(one["a"]), jnp.abs(one["b"]))


def test_the_rank_is_rounded_up_to_a_multiple():
    def rank(shape, **how):
        return jax.eval_shape(fo.scale_by_dion(**how).init, jnp.zeros(shape)).q.shape[-1]

    assert rank((30, 40), rank_fraction=0.1) == 3
    assert rank((40, 30), rank_fraction=0.11) == 4
    assert rank((30, 40), rank_fraction=0.1, rank_multiple_of=8) == 8
    assert rank((5, 40), rank_fraction=0.9, rank_multiple_of=8) == 5
    assert rank((2, 5, 40), rank_fraction=0.01) == 1


@pytest.mark.usefixtures("x64")
def test_with_all_rows_dion2_is_muon():
    gradients = [[normal(shape, t) for shape in SHAPES] for t in range(5)]
    ours, _ = run(fo.scale_by_dion2(beta=0.8, fraction=1.0, **EXACT), gradients)
    theirs, _ = run(fo.scale_by_muon(beta=0.8, nesterov=False, **EXACT), gradients)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(8, 5), (5, 8)])
def test_dion2_orthogonalizes_the_largest_and_keeps_the_others_whole(shape):
    g = normal(shape)
    (u,), state = run(fo.scale_by_dion2(fraction=0.3, **EXACT), [g])
    view, update, mu = (x.T if shape[0] > shape[1] else x for x in (g, u, state.mu))
    order = np.argsort(-np.abs(view).sum(axis=1))
    assert set(np.flatnonzero(np.abs(update).sum(axis=1))) == set(order[:2])
    np.testing.assert_allclose(update[order[:2]], polar(view[order[:2]]), atol=1e-10)
    np.testing.assert_allclose(mu[order[:2]], 0.95 * view[order[:2]], rtol=1e-12)
    np.testing.assert_array_equal(mu[order[2:]], view[order[2:]])


def test_dion2_comes_to_every_row():
    g = normal((8, 20)).astype(jnp.float32) * jnp.linspace(1.0, 3.0, 8)[:, None]
    updates, _ = run(fo.scale_by_dion2(fraction=0.25), [g] * 200)
    assert (jnp.abs(jnp.stack(updates)).sum(axis=(0, 2)) > 0).all()


@pytest.mark.parametrize("make", [fo.dion, fo.dion2])
def test_steps_and_hyperparameters_compile_once(make):
    params = {"w": jnp.ones((3, 5)), "b": jnp.ones(5)}
    txs = [make(rate, beta=beta) for rate, beta in ((0.1, 0.9), (0.2, 0.5))]

    @jax.jit
    def step(params, state):
        updates, state = txs[0].update(params, state, params)
        return fo.apply_updates(params, updates), state

    for tx in txs:
        state, here = tx.init(params), params
        for _ in range(3):
            here, state = step(here, state)
    assert step._cache_size() == 1


@pytest.mark.parametrize("make", [fo.dion, fo.dion2])
def test_empty_and_thin_matrices_have_updates(make):
    shapes = [(0, 3), (3, 0), (1, 1), (7, 1), (2, 0, 3)]
    tx = make(0.1, axes=[fo.MatrixAxes(-2, -1)] * len(shapes))
    params = list(map(jnp.ones, shapes))
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    assert [u.shape for u in updates] == shapes
    assert all(jnp.isfinite(u).all() for u in updates)


VALUES = {
    "equal": np.ones(6),
    "falling": np.logspace(0, -6, 6),
    "rank one": np.eye(1, 6)[0],
    "half of the rank": np.repeat([1.0, 0.0], 3),
    "zeros": np.zeros(6),
    "tiny": np.full(6, 1e-30),
    "huge": np.full(6, 1e30),
}


def with_values(values, seed=0):
    """Returns two matrices of 80 x 6 with these singular values."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((2, 80, 6)))[0]
    return left * values @ np.linalg.qr(rng.standard_normal((2, 6, 6)))[0]


jitted_qr = jax.jit(randomized_cholesky_qr)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_a_randomized_cholesky_qr_has_orthonormal_columns_with_the_same_span(values, dtype):
    x = with_values(values).astype(dtype)
    if dtype == np.complex64:
        x = x * np.exp(1j * np.arange(80)[:, None]).astype(dtype)
    p = np.asarray(jitted_qr(x, jax.random.key(0)), np.complex128)
    adjoint = np.conj(np.swapaxes(p, -2, -1))
    np.testing.assert_allclose(adjoint @ p, np.broadcast_to(np.eye(6), (2, 6, 6)), atol=2e-6)
    exact = x.astype(np.complex128)
    np.testing.assert_allclose(
        p @ (adjoint @ exact), exact, atol=1e-5 * max(np.abs(x).max(), 1e-36)
    )


@pytest.mark.usefixtures("x64")
def test_a_randomized_cholesky_qr_projects_on_the_span_that_the_oracle_has():
    x = with_values(VALUES["falling"])
    p, q = jitted_qr(x, jax.random.key(0)), np.linalg.qr(x)[0]
    projections = (y @ np.swapaxes(y, -2, -1) for y in (np.asarray(p), q))
    np.testing.assert_allclose(*projections, atol=1e-7)


def test_columns_as_long_as_the_sketch_have_a_decomposition_by_reflections():
    x = normal((20, 6))
    assert (randomized_cholesky_qr(x, jax.random.key(0)) == jnp.linalg.qr(x)[0]).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(80, 12), (12, 80)])
def test_both_methods_have_the_same_updates(shape):
    gradients = [normal(shape, t) for t in range(4)]
    by = {
        method: run(fo.scale_by_dion(rank_fraction=0.5, qr_method=method), gradients)
        for method in ("qr", "rcqr")
    }
    for x, y in zip(by["qr"][0], by["rcqr"][0], strict=True):
        np.testing.assert_allclose(x, y, atol=1e-9)
    np.testing.assert_allclose(by["qr"][1].mu, by["rcqr"][1].mu, atol=1e-9)


def test_columns_that_a_matrix_lacks_find_directions_that_come_later():
    """The first gradients have rank one; a later one has a direction that none had before."""
    first, later = (jnp.zeros((80, 4)).at[i, i].set(1.0) for i in (0, 3))
    tx = fo.scale_by_dion(beta=0.5, qr_method="rcqr")
    updates, _ = run(tx, [first] * 3 + [later] * 12)
    assert np.isfinite(updates).all()
    np.testing.assert_allclose(updates[-1][3, 3], 1.0, atol=1e-2)


def test_zeros_stay_zeros_by_either_method():
    tx = fo.scale_by_dion(rank_fraction=0.5, qr_method="rcqr")
    (u,), state = run(tx, [jnp.zeros((80, 4))])
    assert not u.any()
    assert np.isfinite(state.q).all()
