import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from ..oracles import rprop as oracles

GRADS = np.random.default_rng(0).standard_normal((100, 20))
GRADS[40:60, ::3] = 0


def params_of(tx, grads, start=0.0):
    """Returns the parameters after each step."""

    def step(carry, g):
        p, state = carry
        u, state = tx.update(g, state, p)
        p = fo.apply_updates(p, u)
        return (p, state), p

    p = jnp.full_like(grads[0], start)
    return jax.jit(lambda: jax.lax.scan(step, (p, tx.init(p)), grads)[1])()


@pytest.mark.usefixtures("x64")
def test_every_bit_is_the_oracles():
    how = {"learning_rate": 0.1, "eta_minus": 0.3, "eta_plus": 1.7, "min_step_size": 1e-3}
    oracle, p, expected = oracles.rprop(**how), {"w": np.zeros(20)}, []
    for g in GRADS:
        p = {"w": p["w"] + oracle({"w": g}, p)["w"]}
        expected.append(p["w"])
    np.testing.assert_array_equal(params_of(fo.rprop(**how), jnp.asarray(GRADS)), expected)


@pytest.mark.parametrize("size", [1e-37, 1e37])
def test_only_signs_matter_also_where_products_underflow_or_overflow(size):
    tx, grads = fo.rprop(0.1), jnp.asarray(np.sign(GRADS) * size, jnp.float32)
    np.testing.assert_array_equal(params_of(tx, grads), params_of(tx, jnp.sign(grads)))


def test_a_learning_rate_that_is_set_counts_for_parameters_that_have_not_started():
    tx = fo.rprop(0.5)
    state = fo.set_hyperparams(tx.init({"a": 0.0, "b": 0.0}), learning_rate=0.25)
    updates, state = tx.update({"a": 1.0, "b": None}, state)
    assert updates["a"] == -0.25
    state = fo.set_hyperparams(state, learning_rate=2.0)
    updates, _ = tx.update({"a": 1.0, "b": 1.0}, state)
    np.testing.assert_allclose(updates["a"], -0.25 * 1.2, rtol=1e-6)
    assert updates["b"] == -2


def test_the_first_step_is_within_the_bounds():
    tx = fo.scale_by_rprop(8.0, max_step_size=0.5)
    assert tx.update(3.0, tx.init(0.0))[0] == 0.5


def test_all_coordinates_of_an_ill_conditioned_quadratic_have_equal_steps():
    scales = np.array([1e-6, 1.0, 1e6], np.float32)
    tx, p = fo.rprop(0.1), jnp.ones(3)
    state, update = tx.init(p), jax.jit(tx.update)
    for _ in range(100):
        u, state = update(scales * p, state, p)
        p = fo.apply_updates(p, u)
    assert jnp.abs(p).max() < 1e-4
    assert p[0] == p[1] == p[2]


def test_it_runs_on_a_mesh_of_explicit_axes():
    if jax.device_count() < 2:
        pytest.skip("needs two devices; the host has eight where JAX_PLATFORMS is cpu")
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        tx, p = fo.rprop(0.1), jax.device_put(jnp.ones((4, 3)), jax.P("x"))
        updates, state = jax.jit(tx.update)(p, tx.init(p), p)
    assert updates.sharding.spec == state[0].step_size.sharding.spec == jax.P("x", None)
