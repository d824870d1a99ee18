"""GaLore and APOLLO: limits in which they are other algorithms, and what they repeat."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo


def gradients(n, shape=(4, 6), seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape))


def run(tx, grads):
    """Returns the updates of `{"w": g}` for each g, and the last state."""
    params = {"w": jnp.zeros_like(jnp.asarray(grads[0]))}
    state, update, us = tx.init(params), jax.jit(tx.update), []
    for g in grads:
        u, state = update({"w": jnp.asarray(g)}, state, params)
        us.append(np.asarray(u["w"]))
    return np.stack(us), state


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("side", ["longer", "shorter"])
def test_galore_without_a_reduction_is_adam_in_another_basis(side):
    """Where G is diagonal with falling elements, P is the identity, and GaLore is Adam."""
    grads = np.stack([np.diag([4.0, 2.0, 1.0]) * (1 + t) for t in range(6)])
    ours, _ = run(fo.scale_by_galore(rank=3, side=side), grads)
    np.testing.assert_allclose(ours, run(fo.scale_by_adam(), grads)[0], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_galore_of_full_rank_around_a_linear_optimizer_is_that_optimizer():
    """P P^T = I does not change what commutes with projections."""
    grads = gradients(8)
    ours, _ = run(fo.scale_by_galore(4, 1, 1.0, fo.scale(-0.5), side="shorter"), grads)
    np.testing.assert_allclose(ours, -0.5 * grads, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_galore_projects_on_the_largest_singular_vectors():
    grads = gradients(1)
    ours, state = run(fo.scale_by_galore(2, base_optimizer=fo.scale(1.0)), grads)
    u, s, vh = np.linalg.svd(grads[0], full_matrices=False)
    np.testing.assert_allclose(ours[0], (u[:, :2] * s[:2]) @ vh[:2], atol=1e-12)
    projector = np.asarray(state[0].projector["w"])
    np.testing.assert_allclose(projector.T @ projector, np.eye(2), atol=1e-12)
    largest = projector[np.argmax(np.abs(projector), axis=0), [0, 1]]
    assert (largest > 0).all()


def test_galore_keeps_its_projection_between_refreshes():
    grads = np.float32(gradients(7))
    tx = fo.scale_by_galore(2, 3)
    projectors = [np.asarray(run(tx, grads[: i + 1])[1][0].projector["w"]) for i in range(7)]
    changed = [not np.array_equal(a, b) for a, b in itertools.pairwise(projectors)]
    assert [i + 1 for i, x in enumerate(changed) if x] == [3, 6]


def test_galore_keeps_its_projection_where_the_gradient_is_not_finite():
    tx = fo.scale_by_galore(2, 1)
    _, state = run(tx, np.float32(gradients(2)))
    _, after = tx.update({"w": jnp.full((4, 6), jnp.nan)}, state)
    np.testing.assert_array_equal(after[0].projector["w"], state[0].projector["w"])


def test_a_leaf_that_comes_late_has_a_projection():
    params = {"a": jnp.ones((4, 3)), "b": jnp.ones((4, 3))}
    tx = fo.scale_by_galore(2, 100)
    _, state = tx.update({"a": params["a"], "b": None}, tx.init(params), params)
    updates, _ = tx.update(params, state, params)
    assert jnp.abs(updates["b"]).max() > 0.1


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("side", ["longer", "shorter"])
def test_galore_of_a_stack_is_galore_of_its_matrices(side):
    axes = {"w": fo.MatrixAxes(1, 2)}
    grads = gradients(5, (2, 4, 6))
    ours, state = run(fo.scale_by_galore(2, 2, weight_dimension_numbers=axes, side=side), grads)
    assert state[0].projector["w"].shape[0] == 2
    for i in range(2):
        alone, _ = run(fo.scale_by_galore(2, 2, side=side), grads[:, i])
        np.testing.assert_allclose(ours[:, i], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_galore_of_a_fused_weight_is_galore_of_its_parts():
    axes = {"w": fo.MatrixAxes(0, 1, split_outputs=(4, 2))}
    grads = gradients(5)
    ours, state = run(fo.scale_by_galore(2, 2, weight_dimension_numbers=axes), grads)
    assert [p.shape for p in state[0].projector["w"]] == [(4, 2), (4, 2)]
    for part in (slice(0, 4), slice(4, 6)):
        alone, _ = run(fo.scale_by_galore(2, 2), grads[..., part])
        np.testing.assert_allclose(ours[..., part], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("make", [fo.galore, fo.apollo, fo.apollo_mini])
def test_a_layout_does_not_matter(make):
    name = "weight_dimension_numbers" if make is fo.galore else "axes"
    rank = {} if make is fo.apollo_mini else {"rank": 2}
    grads = gradients(6)
    ours, _ = run(make(0.1, **rank, **{name: {"w": fo.MatrixAxes(0, 1)}}), grads)
    other, _ = run(make(0.1, **rank, **{name: {"w": fo.MatrixAxes(1, 0)}}), grads.swapaxes(1, 2))
    np.testing.assert_allclose(other.swapaxes(1, 2), ours, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("tensor_wise", [False, True])
def test_apollo_of_a_stack_is_apollo_of_its_matrices(tensor_wise):
    tx = fo.scale_by_apollo(2, 2, tensor_wise=tensor_wise)
    grads = gradients(5, (2, 4, 6))
    ours, _ = run(tx, grads)
    for i in range(2):
        np.testing.assert_allclose(ours[:, i], run(tx, grads[:, i])[0], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_direction_of_apollo_mini_is_the_gradient():
    grads = gradients(6)
    ours, _ = run(fo.apollo_mini(0.1), grads)
    for u, g in zip(ours, grads, strict=True):
        np.testing.assert_allclose(u / u.ravel()[0], g / g.ravel()[0], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_apollo_scales_whole_columns_of_a_wide_matrix_and_rows_of_a_tall_one():
    for shape, axis in (((4, 6), 0), ((6, 4), 1)):
        grads = gradients(3, shape)
        ratios = run(fo.scale_by_apollo(2), grads)[0] / grads
        np.testing.assert_allclose(ratios, ratios.max(axis=1 + axis, keepdims=True) + 0 * ratios)


@pytest.mark.usefixtures("x64")
def test_the_norm_of_apollo_grows_by_the_limit_at_most():
    # Of equal gradients, the first moment grows by 1.9, 1.43, 1.27, ...
    grads = np.repeat(gradients(1), 6, axis=0)

    def growth(limit):
        tx = fo.scale_by_apollo(2, b2=0.0, eps=0.0, growth_limit=limit)
        norms = [float(run(tx, grads[:n])[1].norm["w"]) for n in (1, 2, 3)]
        return np.divide(norms[1:], norms[:-1])

    np.testing.assert_allclose(growth(1.25), 1.25, rtol=1e-6)
    np.testing.assert_allclose(growth(1.5), [1.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(growth(10.0), [1.9, 2.71 / 1.9], rtol=1e-6)


def test_apollo_after_a_zero_gradient_is_not_held_back():
    grads = np.float32(gradients(3))
    grads[0] = 0
    us, _ = run(fo.scale_by_apollo(2), grads)
    assert np.isfinite(us).all()
    assert not us[0].any()
    assert np.abs(us[1]).max() > 0.1


def test_the_same_key_repeats_apollo_bit_for_bit_and_a_state_continues_it():
    grads = np.float32(gradients(9))
    us, _ = run(fo.scale_by_apollo(2, 4, key=3), grads)
    np.testing.assert_array_equal(us, run(fo.scale_by_apollo(2, 4, key=3), grads)[0])
    assert not np.array_equal(us, run(fo.scale_by_apollo(2, 4, key=4), grads)[0])
    _, state = run(fo.scale_by_apollo(2, 4, key=3), grads[:5])
    for g, u in zip(grads[5:], us[5:], strict=True):
        # Another key does not matter: the state has that of the run.
        found, state = jax.jit(fo.scale_by_apollo(2, 4, key=9).update)({"w": jnp.asarray(g)}, state)
        np.testing.assert_array_equal(found["w"], u)


@pytest.mark.parametrize("make", [fo.galore, fo.apollo])
def test_one_program_serves_all_steps(make):
    tx = make(0.1, rank=2, update_proj_gap=3)
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
    # A function of its own, because other tests jit `tx.update` with other shapes.
    update, state = jax.jit(lambda *arguments: tx.update(*arguments)), tx.init(params)
    for _ in range(5):
        _, state = update(params, state, params)
    assert update._cache_size() == 1


@pytest.mark.parametrize("make", [fo.scale_by_galore, fo.scale_by_apollo])
def test_matrices_of_any_shape(make):
    tx, shapes = make(2), [(0, 3), (3, 0), (1, 5), (5, 1), (1, 1), (), (0,)]
    g = [jnp.ones(shape) for shape in shapes]
    us, _ = jax.jit(tx.update)(g, tx.init(g))
    for u, shape in zip(us, shapes, strict=True):
        assert u.shape == shape
        assert np.isfinite(u).all(), shape


def test_one_pair_of_axes_is_for_all_parameters_that_have_them():
    axes = fo.contrib.GaLoreDimensionNumbers(0, (1, 2))
    params = {"w": jnp.ones((8, 2, 3)), "b": jnp.ones(3)}
    state = fo.galore(0.1, rank=2, weight_dimension_numbers=axes).init(params)
    assert isinstance(state[0], fo.contrib.GaLoreState)
    assert state[0].projector["w"].shape == (8, 2)
    assert state[0].base_optimizer_state.mu["b"].shape == (3,)


def test_axes_that_do_not_fit_are_named():
    tx = fo.galore(0.1, weight_dimension_numbers={"w": fo.MatrixAxes(0, 2)})
    with pytest.raises(ValueError, match=r"at 'w'.*does not fit a parameter of shape \(4, 3\)"):
        tx.init({"w": jnp.ones((4, 3))})
