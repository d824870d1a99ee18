import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import functional_optim as fo
from functional_optim.core.protocol import NoSlot
from functional_optim.core.trees.structure import tree_nbytes

from .. import problem

SMALL = {"min_dim_size_to_factor": 2}


def draws(shape, steps, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((steps, *shape)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dims", ["largest", "last"])
def test_squares_of_rank_one_are_kept_exactly(dims):
    row, column = draws((6, 1), 1)[0], draws((1, 4), 1, seed=1)[0]
    grads = jnp.stack([t * row * column for t in (1.0, -3.0, 0.5)])
    run = {"dims": dims, **SMALL}
    factored, whole = (
        problem.train(fo.scale_by_factored_rms(**how), jnp.zeros((6, 4)), grads)[2]
        for how in (run, {"factored": False})
    )
    np.testing.assert_allclose(factored, whole, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_the_state_of_a_large_matrix_is_its_sides(dtype):
    params = {"w": jnp.zeros((512, 256), dtype), "b": jnp.zeros(256, dtype)}
    state = fo.adafactor().init(params).scale_by_factored_rms
    assert (state.v["w"], state.v_row["b"], state.v_col["b"]) == (NoSlot(),) * 3
    assert tree_nbytes((state.v_row, state.v_col, state.v)) == 4 * (512 + 256 + 256)


def test_the_largest_axes_are_factored_or_the_last():
    shape = {"w": jnp.zeros((9, 3, 4))}
    for dims, row, column in (("largest", (9, 3, 1), (1, 3, 4)), ("last", (9, 3, 1), (9, 1, 4))):
        state = fo.scale_by_factored_rms(dims=dims, **SMALL).init(shape)
        found = state.v_row["w"].shape, state.v_col["w"].shape
        # v_row averages over the larger of the two largest axes, and v_col over the smaller one.
        assert found == ((row, column) if dims == "last" else ((1, 3, 4), (9, 3, 1)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"momentum": 0.9, "weight_decay_rate": 1e-3}, {"dtype_momentum": "float64"}),
        ({"clipping_threshold": None, "multiply_by_parameter_scale": False}, {}),
        ({"factored": False, "decay_rate": 0.5, "eps": 1e-3}, {}),
    ],
)
def test_with_a_learning_rate_the_steps_are_optaxs(ours, theirs):
    params = {"w": draws((6, 4, 3), 1)[0], "b": draws((5,), 1)[0]}
    grads = {"w": draws((6, 4, 3), 10, seed=1), "b": draws((5,), 10, seed=1)}
    arguments = {"learning_rate": 0.1, **SMALL, **ours}
    found = problem.train(fo.adafactor(**arguments), params, grads)[0]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = problem.train(optax.adafactor(**arguments, **theirs), params, grads)[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), found, expected
    )


def test_the_published_run_on_a_parabola():
    """optax's documentation prints these values of sum(x^2), from (1, 2, 3)."""
    tx, x = fo.adafactor(0.003), jnp.array([1.0, 2.0, 3.0])
    state, seen = tx.init(x), []
    for _ in range(5):
        updates, state = tx.update(2 * x, state, x)
        x = fo.apply_updates(x, updates)
        seen.append(f"{jnp.sum(x**2):.3g}")
    assert seen == ["13.9", "13.8", "13.8", "13.7", "13.6"]


@pytest.mark.parametrize(("warmup", "peak"), [(None, 1e-2), (1e-6, 1e-6)])
def test_without_a_learning_rate_the_step_is_the_authors(warmup, peak):
    """A parameter of size 2 and a direction of 1 give 2 min(1e-2, 1e-6 t, 1 / sqrt(t))."""
    tx = fo.adafactor(warmup_step=warmup)
    params = jnp.full(4, 2.0)
    updates, state = tx.update(jnp.ones(4), tx.init(params), params)
    np.testing.assert_allclose(updates, -2 * peak, rtol=1e-6)
    late = state.scale_by_relative_step
    for t in (9_999, 999_999):
        counted = late._replace(count=jnp.full_like(late.count, t))
        updates, _ = tx.update(jnp.ones(4), state._replace(scale_by_relative_step=counted), params)
        np.testing.assert_allclose(updates, -2 / np.sqrt(t + 1), rtol=1e-5)


def test_a_parameter_at_rest_does_not_take_part_in_the_count():
    tx, params = fo.scale_by_relative_step(1.0), {"a": jnp.ones(1), "b": jnp.ones(1)}
    state = tx.init(params)
    for a in (params["a"], None, None):
        _, state = tx.update({"a": a, "b": params["b"]}, state, params)
    updates, _ = tx.update(params, state, params)
    np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [2**-0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("how", [{}, {"epsilon": 0.0}, {"eps_as_floor": True, "epsilon": 0.0}])
def test_zeros_and_arrays_without_elements_stay_finite(how):
    params = {"w": jnp.zeros((3, 2)), "b": jnp.zeros(2), "none": jnp.zeros((0, 3))}
    tx = fo.chain(fo.scale_by_factored_rms(**SMALL, **how), fo.clip_by_block_rms(1.0))
    tx = fo.chain(tx, fo.scale_by_param_block_rms())
    updates, state = tx.update(params, tx.init(params), params)
    assert all(jnp.all(u == 0) for u in jax.tree.leaves(updates))
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("rule", "size"),
    [(fo.scale_by_param_block_rms, 5 / 2**0.5), (fo.scale_by_param_block_norm, 5.0)],
    ids=["rms", "norm"],
)
def test_an_update_is_scaled_by_the_size_of_its_parameter(rule, size):
    # Alone they have no trajectory to hold against an oracle: it grows without end.
    params = {"w": jnp.array([3.0, 4.0]), "small": jnp.array([0.0, 0.1])}
    tx = rule(min_scale=0.5)
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(updates["w"], size * params["w"], rtol=1e-6)
    np.testing.assert_allclose(updates["small"], 0.5 * params["small"], rtol=1e-6)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_factors_lie_along_the_axes_of_the_parameter(mesh, wrap):
    params = jax.device_put(jnp.ones((8, 4)), NamedSharding(mesh, PartitionSpec("x", "y")))
    tx = fo.adafactor(dims="last", **SMALL)
    state = wrap(tx.init)(params)
    _, after = jax.jit(tx.update)(params, state, params)
    for link in (state.scale_by_factored_rms, after.scale_by_factored_rms):
        for slot, spec in (("v_row", ("x", None)), ("v_col", (None, "y"))):
            place = NamedSharding(mesh, PartitionSpec(*spec))
            assert link[slot].sharding.is_equivalent_to(place, 2), slot
