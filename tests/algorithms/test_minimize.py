"""`minimize`: solved in few evaluations, compiled once, and honest about how it ended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.algorithms.minimize import _minimize

from ..problem import ROUNDED_ONCE

START = jnp.array([-1.2, 1.0])
CONVERGED, NO_CHANGE, MAX_ITER, MAX_EVAL, NO_DESCENT = 1, 2, 3, 4, 5


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def bowl(x, target=0.0):
    return jnp.sum((x - target) ** 2)


@pytest.mark.parametrize("x64", [False, True])
def test_rosenbrock_to_a_gradient_of_1e5_takes_at_most_44_evaluations(x64):
    def minimize(start):
        return fo.minimize(rosenbrock, start, tolerance_grad=1e-5)

    with jax.enable_x64(x64):
        # The number depends on the last bits.
        result = jax.jit(minimize, compiler_options=ROUNDED_ONCE)(jnp.array([-1.2, 1.0]))
        assert result.n_evals <= 44
        assert result.converged
        assert result.status == CONVERGED
        assert jnp.max(jnp.abs(jax.grad(rosenbrock)(result.params))) <= 1e-5
        np.testing.assert_allclose(result.params, 1, atol=1e-5)
        np.testing.assert_allclose(result.value, rosenbrock(result.params), rtol=1e-5, atol=1e-15)
        np.testing.assert_allclose(result.grad, jax.grad(rosenbrock)(result.params), atol=1e-6)


def test_its_count_is_that_of_the_evaluations():
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(1))
        return rosenbrock(x)

    result = fo.minimize(counted, START, max_iter=5)
    jax.effects_barrier()
    assert len(calls) == result.n_evals
    assert (result.n_iter, result.status, bool(result.converged)) == (5, MAX_ITER, False)


def test_trees_arguments_and_aux():
    def fn(tree, target):
        z = tree["z"]
        loss = jnp.sum(jnp.abs(z - target) ** 2) + jnp.sum(
            (tree["low"].astype(jnp.float32) - 1) ** 2
        )
        return loss, {"seen": target}

    x0 = {"z": jnp.zeros(2, jnp.complex64), "low": jnp.zeros(2, jnp.bfloat16), "rest": None}
    target = jnp.array([1.0 + 2.0j, -3.0j])
    result = fo.minimize(fn, x0, target, has_aux=True)
    np.testing.assert_allclose(result.params["z"], target, atol=1e-5)
    assert result.params["low"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(result.params["low"], jnp.ones(2, jnp.bfloat16))
    assert result.params["rest"] is None
    np.testing.assert_array_equal(result.aux["seen"], target)


def test_numbers_and_arguments_compile_nothing():
    fo.minimize(bowl, START, 1.0, max_iter=50, tolerance_grad=1e-3)
    before = _minimize._cache_size()
    for target, most in ((2.0, 50), (3.0, 10)):
        result = fo.minimize(bowl, START, target, max_iter=most, tolerance_grad=1e-4)
        np.testing.assert_allclose(result.params, target, atol=1e-4)
    assert _minimize._cache_size() == before


def test_maps_over_starts():
    starts = jnp.stack([START, jnp.array([0.5, 0.5])])
    together = jax.jit(jax.vmap(lambda x: fo.minimize(rosenbrock, x)))(starts)
    alone = fo.minimize(rosenbrock, starts[1])
    np.testing.assert_allclose(together.params, 1, atol=1e-4)
    assert together.n_iter[1] == alone.n_iter


@pytest.mark.parametrize(
    ("fn", "x0", "options", "status"),
    [
        (bowl, jnp.zeros(2), {}, CONVERGED),
        (lambda x: jnp.sum(0.0 * x), START, {}, CONVERGED),
        (lambda x: jnp.zeros(()), {}, {}, CONVERGED),
        (rosenbrock, START, {"max_iter": 0}, MAX_ITER),
        (rosenbrock, START, {"max_eval": 7}, MAX_EVAL),
        (rosenbrock, START, {"tolerance_change": 0.5}, NO_CHANGE),
        (lambda x: jnp.sum(jnp.log(x)), -jnp.ones(2), {}, NO_CHANGE),
        (lambda x: jnp.sum(jnp.nan * x), START, {}, NO_DESCENT),
    ],
    ids=["rest", "flat", "empty", "no iteration", "evaluations", "change", "NaN", "NaN gradient"],
)
def test_how_it_ends(fn, x0, options, status):
    result = fo.minimize(fn, x0, **options)
    assert result.status == status
    assert result.converged == (status == CONVERGED)
    np.testing.assert_allclose(result.value, fn(result.params), rtol=1e-5)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))


def test_turns_back_from_where_the_function_is_not_defined():
    def fn(x):  # the first step, from a steep wall, leads far beyond 0
        return jnp.sum(x - 1e-2 * jnp.log(x))

    result = fo.minimize(fn, jnp.array([3.0, 0.5]))
    np.testing.assert_allclose(result.params, 1e-2, rtol=1e-3)
    assert result.converged


@pytest.mark.parametrize(
    ("x0", "options", "error", "text"),
    [
        ({"w": jnp.ones(2, int)}, {}, TypeError, "minimize: the parameter at 'w' has dtype int32"),
        (START, {"max_iter": -1}, ValueError, r"minimize: max_iter must be in \[0, inf\), got -1"),
        (START, {"tolerance_grad": None}, TypeError, "minimize: tolerance_grad must be a real"),
        (START, {"history_size": 0}, ValueError, "history_size must be an integer from 1, got 0"),
    ],
)
def test_bad_arguments(x0, options, error, text):
    with pytest.raises(error, match=text):
        fo.minimize(bowl, x0, **options)


@pytest.mark.parametrize(
    "change",
    [lambda y: y.astype(jnp.complex64), lambda y: jnp.stack([y, y])],
    ids=["complex", "vector"],
)
def test_a_loss_that_is_not_a_real_scalar_is_refused(change):
    with pytest.raises(TypeError, match="minimize: the function must return a real scalar, got"):
        fo.minimize(lambda x: change(bowl(x)), START)


def multiple_of_rosenbrock(x, scale):
    return scale * jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.parametrize("scale", [1e-60, 1e-9, 1e9])
def test_a_multiple_of_a_function_is_minimized_as_the_function_is(scale):
    with jax.enable_x64(True):
        start, most = np.full(10, -1.2), {"max_iter": 150, "tolerance_grad": scale * 1e-7}
        end = fo.minimize(multiple_of_rosenbrock, start, scale, **most)
        minima = np.array([0.0, 3.98658]) * scale
        assert end.status == CONVERGED
        assert np.abs(end.value - minima).min() < 1e-4 * scale


def test_numbers_near_the_smallest_leave_no_infinity():
    def f(x):
        return 1e-30 * jnp.sum((x - 1) ** 2)

    end = fo.minimize(f, jnp.zeros(3), max_iter=20, tolerance_grad=0.0)
    assert jnp.isfinite(end.params).all()
    assert end.value <= f(jnp.zeros(3))
