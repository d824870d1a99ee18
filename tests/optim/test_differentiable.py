"""Derivatives through steps of a differentiable optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from functional_optim import optim

from .makers import quadratic

CLASSES = {
    "SGD": lambda params, lr, **more: optim.SGD(params, lr, momentum=0.9, **more),
    "Adam": lambda params, lr, **more: optim.Adam(params, lr, amsgrad=True, **more),
    "AdamW": lambda params, lr, **more: optim.AdamW(params, lr, **more),
    "RMSprop": lambda params, lr, **more: optim.RMSprop(params, lr, momentum=0.5, **more),
}
START = {"a": np.array([1.5, -2.5]), "b": np.array(0.5)}


def trained(make, start, lr, weight_decay):
    """Returns the loss after three steps, as a function of the start of the run."""
    optimizer = make(start, lr, weight_decay=weight_decay, differentiable=True)
    for target in (1.0, -1.0, 2.0):
        optimizer.step(jax.grad(quadratic)(optimizer.params, target))
    return quadratic(optimizer.params, 0.0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("make", CLASSES.values(), ids=CLASSES)
def test_derivatives_are_finite_differences(make):
    arguments = (jax.tree.map(jnp.asarray, START), jnp.array(0.1), jnp.array(0.01))

    @jax.jit
    def value(arguments):
        return trained(make, *arguments)

    derivative = jax.grad(value)(arguments)
    flat, unravel = ravel_pytree(arguments)
    for i, found in enumerate(ravel_pytree(derivative)[0]):
        h = 1e-6 * jnp.zeros_like(flat).at[i].set(1.0)
        expected = (value(unravel(flat + h)) - value(unravel(flat - h))) / 2e-6
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("x64")
def test_the_derivative_with_respect_to_betas():
    @jax.jit
    def value(b1, b2):
        make = CLASSES["AdamW"]
        return trained(lambda *a, **k: make(*a, betas=(b1, b2), **k), START, 0.1, 0.0)

    betas = jnp.array(0.9), jnp.array(0.99)
    for i, found in enumerate(jax.grad(value, argnums=(0, 1))(*betas)):
        up, down = ([b + s * (k == i) for k, b in enumerate(betas)] for s in (1e-6, -1e-6))
        np.testing.assert_allclose(found, (value(*up) - value(*down)) / 2e-6, rtol=1e-5)


def test_a_run_is_one_traced_program():
    run = jax.jit(lambda lr: trained(CLASSES["Adam"], START32, lr, 0.0))
    eager = trained(CLASSES["Adam"], START32, 0.1, 0.0)
    np.testing.assert_allclose(run(0.1), eager, rtol=1e-5)


START32 = {k: x.astype(np.float32) for k, x in START.items()}


def test_parameters_may_be_assigned_within_a_trace():
    def value(w):
        optimizer = optim.SGD({"w": jnp.zeros(2)}, lr=0.5, differentiable=True)
        optimizer.params = {"w": w}
        optimizer.step(lambda params: quadratic(params, 0.0))
        return quadratic(optimizer.params, 0.0)

    np.testing.assert_allclose(jax.grad(value)(jnp.array([1.0, 2.0])), [0.25, 0.5])
