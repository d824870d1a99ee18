"""Perturbed functions against closed forms of their expectations, and against optax's numbers."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from functional_optim import perturbations

KEY = jax.random.key(7)
X = jnp.array([0.5, -0.3, 0.1])


def step(x):
    return jnp.where(x > 0, 1.0, 0.0)


def one_hot_argmax(x):
    return jax.nn.one_hot(jnp.argmax(x), x.shape[0])


def normal_distribution(x):
    return 0.5 * (1 + jax.scipy.special.erf(x / np.sqrt(2)))


@pytest.mark.parametrize("use_baseline", [True, False])
def test_a_step_becomes_the_distribution_of_the_noise(use_baseline):
    sigma = 0.5
    smooth = perturbations.make_perturbed_fun(
        step, 40_000, sigma, perturbations.Normal(), use_baseline
    )
    expected = lambda x: normal_distribution(x / sigma)  # noqa: E731
    np.testing.assert_allclose(jax.jit(smooth)(KEY, X), expected(X), atol=0.02)
    found = jax.jit(jax.grad(lambda x: smooth(KEY, x).sum()))(X)
    np.testing.assert_allclose(found, jax.grad(lambda x: expected(x).sum())(X), atol=0.1)


def test_an_argmax_becomes_the_softmax():
    smooth = perturbations.make_perturbed_fun(one_hot_argmax, 10_000, 0.5)
    np.testing.assert_allclose(jax.jit(smooth)(KEY, X), jax.nn.softmax(X / 0.5), atol=0.03)
    found = jax.jit(jax.jacobian(lambda x: smooth(KEY, x)))(X)
    np.testing.assert_allclose(found, jax.jacobian(jax.nn.softmax)(X / 0.5) / 0.5, atol=0.1)


def test_second_derivatives_are_those_of_the_expectation():
    """E[(x + sigma z)^2] = x^2 + sigma^2."""
    smooth = perturbations.make_perturbed_fun(jnp.square, 100_000, 1.0, perturbations.Normal())
    found = jax.jit(jax.grad(jax.grad(smooth, argnums=1), argnums=1))(KEY, jnp.array(0.5))
    np.testing.assert_allclose(found, 2.0, atol=0.2)


def test_the_baseline_lowers_the_variance():
    def spread(use_baseline):
        smooth = perturbations.make_perturbed_fun(
            lambda x: 10 + step(x), 50, 0.5, perturbations.Normal(), use_baseline
        )
        slopes = jax.jit(jax.vmap(lambda key: jax.grad(smooth, argnums=1)(key, X[0])))(
            jax.random.split(KEY, 200)
        )
        return jnp.std(slopes)

    assert spread(True) < 0.2 * spread(False)


@pytest.mark.parametrize("noise", ["Normal", "Gumbel"])
@pytest.mark.parametrize("use_baseline", [True, False])
def test_values_and_derivatives_of_trees_equal_those_of_optax(noise, use_baseline):
    tree = {"a": X, "b": (jnp.array(0.2), jnp.ones((2, 2)))}

    def fun(t):
        return {"sum": jnp.sum(step(t["a"])) + t["b"][0], "max": jnp.max(t["b"][1])}

    def of(module):
        smooth = module.make_perturbed_fun(fun, 20, 0.3, getattr(module, noise)(), use_baseline)
        slope = jax.grad(lambda t: sum(smooth(KEY, t).values()))(tree)
        return smooth(KEY, tree), slope

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = jax.jit(lambda: of(optax.perturbations))()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        jax.jit(lambda: of(perturbations))(),
        expected,
    )


def test_signatures_equal_those_of_optax():
    for name in ("make_perturbed_fun", "Gumbel.sample", "Normal.log_prob"):
        ours, theirs = perturbations, optax.perturbations
        for part in name.split("."):
            ours, theirs = getattr(ours, part), getattr(theirs, part)
        a, b = (inspect.signature(f).parameters.values() for f in (ours, theirs))
        assert [(p.name, p.kind) for p in a] == [(p.name, p.kind) for p in b]
        plain = [p.default for p in a if not isinstance(p.default, perturbations.Gumbel)]
        assert plain == [p.default for p in b if type(p.default).__name__ != "Gumbel"]


def test_noise_of_narrow_arguments_is_computed_wide():
    seen = []

    def fun(x):
        seen.append(x.dtype)
        return x

    x = jnp.full(3, 256.0, jnp.bfloat16)  # whose neighbours are 2 away
    smooth = perturbations.make_perturbed_fun(fun, 4000, 1.0, perturbations.Normal())
    found = smooth(KEY, x)
    assert set(seen) == {jnp.dtype("bfloat16")}
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, 256.0, atol=0.2)


def test_sigma_may_be_traced():
    def value(sigma):
        return perturbations.make_perturbed_fun(step, 10, sigma)(KEY, X)

    np.testing.assert_allclose(jax.jit(value)(0.3), value(0.3), rtol=1e-6)
