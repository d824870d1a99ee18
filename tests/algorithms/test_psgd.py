"""PSGD-Kron: what it converges to, and what it is the same as."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

GEOMETRIES = ("EQ", "Q0.5EQ1.5")
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)


def matrices(n, shape=(4, 3), seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape))


def run(tx, grads, steps=None):
    """Returns the updates of `{"w": g}` for each g, and the last state."""
    state, update, us = tx.init({"w": jnp.asarray(grads[0])}), jax.jit(tx.update), []
    for g in grads[:steps]:
        u, state = update({"w": jnp.asarray(g)}, state)
        us.append(np.asarray(u["w"]))
    return np.stack(us), state


@each_geometry
def test_gradients_are_whitened(geometry):
    """P G has uncorrelated elements of size 1, where those of G are correlated."""
    rng = np.random.default_rng(1)
    left, right = np.diag([10.0, 1.0, 0.1]), np.array([[1.0, 0.9], [0.0, 0.3]])
    grads = jnp.asarray(left @ rng.standard_normal((3000, 3, 2)) @ right, jnp.float32)
    tx = fo.scale_by_psgd_kron(
        fo.exponential_decay(0.0, 1, 0.5),
        1.0,
        fo.exponential_decay(0.3, 1000, 0.3),
        1e3,
        geometry=geometry,
    )
    _, us = jax.lax.scan(
        lambda state, g: tx.update({"w": g}, state)[::-1], tx.init({"w": grads[0]}), grads
    )
    u = np.asarray(us["w"][-1500:]).reshape(1500, -1)
    covariance = u.T @ u / len(u)
    np.testing.assert_allclose(covariance, np.eye(6), atol=0.25)


@pytest.mark.usefixtures("x64")
@each_geometry
def test_a_stack_is_separate_matrices(geometry):
    tx = fo.scale_by_psgd_kron(geometry=geometry)
    grads = matrices(8, (2, 4, 3))
    stack, _ = run(tx, grads)
    for i in range(2):
        np.testing.assert_allclose(stack[:, i], run(tx, grads[:, i])[0], rtol=1e-12)


@pytest.mark.usefixtures("x64")
@each_geometry
def test_a_layout_does_not_matter(geometry):
    grads = matrices(8)
    tx = fo.psgd_kron(0.1, geometry=geometry, axes={"w": fo.MatrixAxes(0, 1)})
    transposed = fo.psgd_kron(0.1, geometry=geometry, axes={"w": fo.MatrixAxes(1, 0)})

    def stepped(tx, grads):
        params = {"w": jnp.zeros(grads[0].shape)}
        state, us, update = tx.init(params), [], jax.jit(tx.update)
        for g in grads:
            u, state = update({"w": jnp.asarray(g)}, state, params)
            us.append(np.asarray(u["w"]))
        return np.stack(us)

    ours = stepped(tx, grads)
    theirs = stepped(transposed, grads.swapaxes(-2, -1))
    np.testing.assert_allclose(theirs.swapaxes(-2, -1), ours, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_balancing_leaves_the_updates():
    """Every 100th fit scales the factors: their largest elements become equal, u stays."""
    grads = matrices(100)
    us, state = run(fo.scale_by_psgd_kron(max_rms=1e3, memory_save_mode="one_diag"), grads)
    assert state.carry["fits"] == 0.0
    assert np.isfinite(us).all()
    _, before = run(fo.scale_by_psgd_kron(max_rms=1e3, memory_save_mode="one_diag"), grads, 99)
    assert before.carry["fits"] == 99.0

    def tops(state):
        return [float(jnp.max(jnp.abs(q["w"]))) for q in (state.q_rows, state.q_columns)]

    # A fit moves the factors after they were balanced, by at most a tenth.
    assert abs(np.log(np.divide(*tops(state)))) < 0.3


def test_factors_are_fitted_as_often_as_the_schedule_says():
    tx = fo.scale_by_psgd_kron(preconditioner_update_probability=0.3)
    state, changed = tx.init({"w": jnp.zeros((3, 2))}), []
    update = jax.jit(tx.update)
    for g in matrices(12, (3, 2)):
        _, after = update({"w": jnp.asarray(g, jnp.float32)}, state)
        changed.append(not np.array_equal(state.q_rows["w"], after.q_rows["w"]))
        state = after
    # 1 / 0.3 updates are reached at every fourth.
    assert [i for i, x in enumerate(changed) if x] == [3, 7, 11]


@each_geometry
def test_zero_and_infinite_gradients_leave_the_factors(geometry):
    tx = fo.scale_by_psgd_kron(b1=0.0, geometry=geometry)
    _, state = run(tx, np.float32(matrices(3)))
    update = jax.jit(tx.update)
    for g in (0.0, np.nan, np.inf):
        u, after = update({"w": jnp.full((4, 3), g)}, state)
        for name in ("q_rows", "q_columns"):
            np.testing.assert_array_equal(after[name]["w"], state[name]["w"])
        assert g != 0 or not u["w"].any()


def test_the_same_key_repeats_a_run_bit_for_bit_and_a_state_continues_it():
    grads = np.float32(matrices(10))
    tx = fo.scale_by_psgd_kron(key=3)
    us, _ = run(tx, grads)
    np.testing.assert_array_equal(us, run(fo.scale_by_psgd_kron(key=3), grads)[0])
    assert not np.array_equal(us, run(fo.scale_by_psgd_kron(key=4), grads)[0])
    _, state = run(tx, grads, 5)
    for g, u in zip(grads[5:], us[5:], strict=True):
        # Another key does not matter: the state has that of the run.
        found, state = jax.jit(fo.scale_by_psgd_kron(key=9).update)({"w": jnp.asarray(g)}, state)
        np.testing.assert_array_equal(found["w"], u)


def test_one_program_serves_all_steps():
    tx = fo.psgd_kron(0.1, preconditioner_update_probability=0.5)
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
    # A function of its own, because other tests jit `tx.update` with other shapes.
    update, state = jax.jit(lambda *arguments: tx.update(*arguments)), tx.init(params)
    for _ in range(5):
        _, state = update(params, state, params)
    assert update._cache_size() == 1


@pytest.mark.parametrize(
    ("arguments", "rows", "columns"),
    [
        ({}, (4, 4), (3, 3)),
        ({"max_size_triangular": 3}, (4,), (3, 3)),
        ({"max_skew_triangular": 1.0}, (4,), (3, 3)),
        ({"memory_save_mode": "one_diag"}, (4,), (3, 3)),
        ({"memory_save_mode": "smart_one_diag"}, (4,), (3, 3)),
        ({"memory_save_mode": "all_diag"}, (4,), (3,)),
    ],
)
def test_which_factors_are_diagonal(arguments, rows, columns):
    state = fo.scale_by_psgd_kron(**arguments).init({"w": jnp.zeros((4, 3))})
    assert (state.q_rows["w"].shape, state.q_columns["w"].shape) == (rows, columns)


def test_of_a_square_one_diagonal_factor_is_not_smart():
    square = {"w": jnp.zeros((3, 3))}
    smart = fo.scale_by_psgd_kron(memory_save_mode="smart_one_diag").init(square)
    assert (smart.q_rows["w"].ndim, smart.q_columns["w"].ndim) == (2, 2)
    one = fo.scale_by_psgd_kron(memory_save_mode="one_diag").init(square)
    assert (one.q_rows["w"].ndim, one.q_columns["w"].ndim) == (2, 1)


@each_geometry
def test_matrices_of_any_shape(geometry):
    tx = fo.scale_by_psgd_kron(geometry=geometry)
    shapes = [(0, 3), (3, 0), (1, 5), (5, 1), (1, 1), (), (0,)]
    g = [jnp.ones(shape) for shape in shapes]
    us, _ = jax.jit(tx.update)(g, tx.init(g))
    for u, shape in zip(us, shapes, strict=True):
        assert u.shape == shape
        assert np.isfinite(u).all(), shape


@pytest.mark.usefixtures("x64")
@each_geometry
def test_complex_matrices_are_whitened(geometry):
    rng = np.random.default_rng(0)
    grads = rng.standard_normal((400, 3, 2)) + 1j * rng.standard_normal((400, 3, 2))
    mixed = grads @ np.array([[3.0, 1.0j], [0.0, 0.2]])
    tx = fo.scale_by_psgd_kron(0.0, 1.0, 0.1, 1e3, geometry=geometry)
    us, _ = run(tx, mixed)
    u = us[200:].reshape(200, -1)
    covariance = u.T @ np.conj(u) / len(u)
    np.testing.assert_allclose(covariance, np.eye(6), atol=0.5)
