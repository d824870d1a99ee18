import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.algorithms.factor_roots import METHODS, Damping, inverse_root
from functional_optim.core.protocol import NoSlot

from .. import problem
from ..oracles import shampoo as oracles

SPECTRAL = {"b1": None, "b2": 0.0, "eps": 0.0}
"""With these, the factors are those of the last gradient alone."""


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def run(tx, grads, params=None):
    """Returns the updates for gradients one after another, and the state after them."""
    state, updates = tx.init(grads[0] if params is None else params), []
    step = jax.jit(tx.update)
    before = step._cache_size()
    for g in grads:
        u, state = step(g, state, params)
        updates.append(u)
    assert step._cache_size() <= before + 1
    return updates, state


def failures(state):
    return float(fo.metrics(state)["failed_roots"])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (1, 4), (2, 3, 5)])
def test_of_one_gradient_it_is_the_polar_factor(shape):
    g = normal(*shape)
    u, _, v = np.linalg.svd(g, full_matrices=False)
    (ours,), state = run(fo.scale_by_shampoo(**SPECTRAL, pseudo_inverse=True), [jnp.asarray(g)])
    np.testing.assert_allclose(ours, u @ v, rtol=1e-12, atol=1e-12)
    assert failures(state) == 0


@pytest.mark.usefixtures("x64")
def test_of_one_square_gradient_it_is_steepest_descent_in_the_spectral_norm():
    g = jnp.asarray(normal(4, 4))
    (ours,), _ = run(fo.scale_by_shampoo(**SPECTRAL), [g])
    (muon,), _ = run(fo.scale_by_muon((1.5, -0.5, 0.0), 60, 0.0, 0.0, nesterov=False), [g])
    np.testing.assert_allclose(ours, muon, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_of_a_vector_it_is_full_matrix_adagrad():
    grads, total = normal(6, 3), np.zeros((3, 3))
    ours, _ = run(fo.scale_by_shampoo(b1=None, eps=1e-3), list(map(jnp.asarray, grads)))
    for g, u in zip(grads, ours, strict=True):
        total += np.outer(g, g)
        values, q = np.linalg.eigh(total)
        np.testing.assert_allclose(u, q @ ((q.T @ g) / np.sqrt(values + 1e-3)), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_of_gradients_along_the_axes_it_is_adagrad():
    # Each gradient has one element, so that the factors are diagonal.
    grads = [jnp.zeros(4).at[i % 4].set(x) for i, x in enumerate(normal(12))]
    ours, _ = run(fo.scale_by_shampoo(b1=None, eps=1e-30), grads)
    adagrad, _ = run(fo.scale_by_rss(initial_accumulator_value=0.0, eps=0.0), grads)
    np.testing.assert_allclose(ours, adagrad, rtol=1e-12)


GRAFTED = {"grafting": "adam", "b2": 0.9, "eps": 1e-3, "precondition_frequency": 2}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("root", METHODS)
def test_layouts_are_transposes_and_a_stack_is_separate_matrices(root):
    grads = [jnp.asarray(normal(2, 3, 4, 5, seed=t)) for t in range(5)]
    tx = fo.scale_by_shampoo(**GRAFTED, root=root)
    ours, state = run(tx, grads)
    swapped, _ = run(tx, [jnp.swapaxes(g, -2, -1) for g in grads])
    # The Newton iteration squares rounding in another order.
    close = {"rtol": 1e-9 if root == "newton" else 1e-12, "atol": 1e-12}
    for u, v in zip(ours, swapped, strict=True):
        np.testing.assert_allclose(u, jnp.swapaxes(v, -2, -1), **close)
    alone, alone_state = run(tx, [g[1, 2] for g in grads])
    np.testing.assert_allclose([u[1, 2] for u in ours], alone, **close)
    np.testing.assert_allclose(state.left_root[1, 2], alone_state.left_root, **close)


def test_roots_are_refreshed_when_they_are_due():
    tx = fo.scale_by_shampoo(precondition_frequency=3, start_preconditioning_step=2, eps=1e-3)
    g = jnp.asarray(normal(3, 3), jnp.float32)
    state, step, roots = tx.init(g), jax.jit(lambda g, state: tx.update(g, state)), []
    for _ in range(7):
        _, state = step(g, state)
        roots.append(np.asarray(state.left_root))
    changes = [not np.array_equal(a, b) for a, b in zip([np.eye(3), *roots], roots, strict=False)]
    assert changes == [False, True, True, False, False, True, False]
    state = fo.set_hyperparams(state, precondition_frequency=8)
    _, state = step(g, state)
    assert not np.array_equal(state.left_root, roots[-1])
    assert step._cache_size() == 1


BROKEN = {
    # A number that is not finite reaches the factor, and stays there.
    "nan": (jnp.array([[jnp.nan, 1.0], [0.0, 1.0]]), 2),
    "inf": (jnp.array([[1e30, 1.0], [0.0, 1.0]]), 2),
    "singular": (jnp.array([[1.0, 0.0], [0.0, 0.0]]), 2),
    "zero": (jnp.zeros((2, 2)), 2),
}


@pytest.mark.parametrize("root", METHODS)
@pytest.mark.parametrize("name", BROKEN)
def test_a_root_that_fails_is_not_used_and_is_counted(name, root):
    g, expected = BROKEN[name]
    sound = jnp.asarray(normal(2, 2, 2), jnp.float32)
    tx = fo.scale_by_shampoo(**SPECTRAL, root=root)
    _, before = run(tx, [sound])
    assert failures(before) == 0
    # Of two matrices, one fails.
    step = jax.jit(tx.update)
    _, state = step(sound.at[1].set(g), before, None)
    assert failures(state) == expected
    for side in ("left_root", "right_root"):
        old, new = getattr(before, side), getattr(state, side)
        np.testing.assert_array_equal(new[1], old[1])
        if root != "qr":  # which takes another step
            np.testing.assert_allclose(new[0], old[0], rtol=1e-5)
    _, state = step(sound, state, None)
    # With b2 = 0 the next factor is sound again, unless 0 times it is NaN.
    assert failures(state) == expected * (1 + (name in ("nan", "inf")))


@pytest.mark.parametrize("seed", range(5))
def test_a_singular_factor_without_eps_fails_whatever_the_rounding(seed):
    g = jnp.asarray(normal(5, 2, seed=seed) @ normal(2, 6, seed=9), jnp.float32)
    _, state = run(fo.scale_by_shampoo(**SPECTRAL), [g])
    assert failures(state) == 2


def test_failures_of_all_leaves_are_counted_in_an_optimizer():
    params = {"w": jnp.ones((4, 2)), "v": jnp.ones((2, 2)), "b": jnp.ones(2)}
    axes = {"w": fo.MatrixAxes(0, 1), "v": fo.MatrixAxes(0, 1), "b": None}
    tx = fo.shampoo(0.1, b2=0.0, eps=0.0, block_size=2, axes=axes)
    _, state = jax.jit(tx.update)(params, tx.init(params), params)
    # Three matrices of ones, with two factors each.
    assert failures(state) == 6


@functools.cache
def root_of(how, exponent, is_relative):
    """Compiles the inverse root as a function of a factor and its eps, for several tests."""

    def root(factor, eps):
        return inverse_root(how, factor, exponent, Damping(eps, is_relative, False), None)

    return jax.jit(root)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("exponent", [0.25, 0.5])
def test_the_newton_iteration_finds_the_root_with_a_relative_eps(exponent):
    x = normal(3, 4, 6)
    factor = jnp.asarray(x @ np.swapaxes(x, -1, -2))
    newton, eigh = (
        root_of(how, exponent, True)(factor, jnp.asarray(1e-3)) for how in ("newton", "eigh")
    )
    assert not newton.failed.any()
    np.testing.assert_allclose(newton.root, eigh.root, rtol=1e-6, atol=1e-6)


def test_float32_roots_have_the_digits_that_the_eps_allows():
    x = normal(64, 64)
    factor = x @ x.T
    values, q = np.linalg.eigh(factor)
    expected = (q * (values + 1e-4 * values[-1]) ** -0.25) @ q.T
    for how in ("eigh", "newton"):
        found = root_of(how, 0.25, True)(jnp.asarray(factor, jnp.float32), jnp.float32(1e-4))
        np.testing.assert_allclose(found.root, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.usefixtures("x64")
def test_qr_follows_the_oracle():
    how = {"b2": 0.9, "eps": 1e-2, "root": "qr", "precondition_frequency": 2}
    grads = [problem.arrays(np.float64, seed=t) for t in range(12)]
    ours, _ = run(fo.scale_by_shampoo(**how), grads)
    oracle = oracles.scale_by_shampoo(**how)
    for g, u in zip(grads, ours, strict=True):
        theirs = oracle({k: np.asarray(x) for k, x in g.items()}, g)
        for k in g:
            np.testing.assert_allclose(u[k], theirs[k], rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_qr_tends_to_the_eigenvectors_of_a_constant_factor():
    g = jnp.asarray(normal(4, 4))
    exact, _ = run(fo.scale_by_shampoo(b2=0.5), [g])
    by_steps, _ = run(fo.scale_by_shampoo(b2=0.5, root="qr"), [g] * 400)
    np.testing.assert_allclose(by_steps[-1], exact[0], rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("is_relative", [False, True])
def test_the_derivative_of_a_root_is_that_of_differences(is_relative):
    x, d = normal(3, 4, 4), normal(3, 4, 4, seed=1)
    factor = jnp.asarray(x @ np.swapaxes(x, -1, -2)).at[2].set(0)
    # Eigenvalues that are equal, and stay so.
    factor, direction = factor.at[1].set(2 * np.eye(4)), jnp.asarray(d + np.swapaxes(d, -1, -2))
    direction = direction.at[1:].set(np.eye(4))

    def root(t):
        moved = factor.at[2].add(np.eye(4)) + t * direction
        return root_of("eigh", 0.3, is_relative)(moved, 0.1 + 0.7 * t)[0]

    _, slope = jax.jit(lambda t: jax.jvp(root, (t,), (jnp.ones(()),)))(jnp.zeros(()))
    difference = (root(jnp.asarray(1e-5)) - root(jnp.asarray(-1e-5))) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-7)


def test_a_complex_matrix_comes_out_unitary():
    g = jnp.asarray(normal(4, 4) + 1j * normal(4, 4, seed=1), jnp.complex64)
    tx = fo.scale_by_shampoo(b1=0.9, b2=0.0, eps=0.0, grafting="sgd")
    (u,), _ = run(tx, [g])
    assert jnp.isclose(jnp.linalg.norm(u), jnp.linalg.norm(g), rtol=1e-4)
    u = u * (2 / jnp.linalg.norm(u)).astype(u.dtype)
    assert jnp.abs(u @ u.conj().T - jnp.eye(4, dtype=u.dtype)).max() < 1e-3


@pytest.mark.parametrize("grafting", ["none", "sgd", "adagrad", "rmsprop", "adam"])
def test_a_gradient_of_zeros_has_an_update_of_zeros(grafting):
    tx = fo.scale_by_shampoo(grafting=grafting)
    updates, _ = run(tx, [{"w": jnp.zeros((3, 4)), "none": jnp.zeros((0, 4)), "b": jnp.zeros(())}])
    for u in jax.tree.leaves(updates):
        np.testing.assert_array_equal(u, 0.0)


def test_a_longer_side_has_no_factor():
    state = fo.scale_by_shampoo(max_precond_dim=3).init({"w": jnp.ones((3, 4)), "v": jnp.ones(4)})
    assert state.left["w"].shape == (3, 3)
    assert [state.right["w"], state.left["v"]] == [NoSlot(), NoSlot()]


def test_the_state_that_no_option_needs_is_not_kept():
    state = fo.scale_by_shampoo(b1=None, one_sided=True).init(jnp.ones((3, 4)))
    assert set(state._fields) >= {"left", "left_root", "failed_roots"}
    assert not {"mu", "nu", "left_basis"} & set(state._fields)
    assert state.right_root == NoSlot()


def test_a_block_is_a_matrix_with_its_own_grafting():
    params = {"w": jnp.asarray(normal(4, 6), jnp.float32)}
    how = {"grafting": "adam", "b2": 0.9, "eps": 1e-3}
    tx = fo.shampoo(1.0, **how, block_size=3, axes={"w": fo.MatrixAxes(0, 1)})
    (updates,), _ = run(tx, [params], params)
    for at in (np.s_[:3, :3], np.s_[:3, 3:], np.s_[3:, :3], np.s_[3:, 3:]):
        (alone,), _ = run(fo.scale_by_shampoo(**how), [params["w"][at]])
        np.testing.assert_allclose(updates["w"][at], -alone, rtol=1e-4, atol=1e-5)
