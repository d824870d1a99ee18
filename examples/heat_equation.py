"""Solves the heat equation with a network: a physics-informed fit by L-BFGS (`fo.minimize`).

    python examples/heat_equation.py

The network is u(x, t). Its loss measures how well it satisfies the equation u_t = u_xx / 10, the
initial condition u(x, 0) = sin(pi x), and the boundary conditions u(-1, t) = u(1, t) = 0, so it
needs no data. The whole fit is one compiled loop. At the end, the program compares with the exact
solution. It takes half a minute on two cores.
"""

import argparse
from collections.abc import Sequence

import jax
import jax.numpy as jnp

import functional_optim as fo

Array = jax.Array
Params = list[tuple[Array, Array]]

DIFFUSION = 0.1


def init(key: Array, sizes: Sequence[int] = (2, 20, 20, 1)) -> Params:
    """Makes the weights and biases of all layers."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (m, n)) * m**-0.5, jnp.zeros(n))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def u(params: Params, x: Array, t: Array) -> Array:
    """Computes the temperature at a place and time; tanh is smooth, so u_xx exists."""
    h = jnp.stack([x, t])
    for weights, bias in params[:-1]:
        h = jnp.tanh(h @ weights + bias)
    weights, bias = params[-1]
    return (h @ weights + bias)[0]


def exact(x: Array, t: Array) -> Array:
    """Computes the solution that the fit should find."""
    return jnp.sin(jnp.pi * x) * jnp.exp(-DIFFUSION * jnp.pi**2 * t)


def loss_fn(params: Params, x: Array, t: Array) -> Array:
    """Sums the mean squared errors in the equation, the initial and the boundary conditions."""

    def residual(x: Array, t: Array) -> Array:
        u_t = jax.grad(u, argnums=2)(params, x, t)
        u_xx = jax.grad(jax.grad(u, argnums=1), argnums=1)(params, x, t)
        return u_t - DIFFUSION * u_xx

    at = jax.vmap(u, in_axes=(None, 0, 0))
    misses = (
        jax.vmap(residual)(x, t),
        at(params, x, jnp.zeros_like(t)) - jnp.sin(jnp.pi * x),
        at(params, jnp.sign(x), t),
    )
    return sum((jnp.mean(jnp.square(miss)) for miss in misses), start=jnp.zeros(()))


def main(arguments: Sequence[str] | None = None) -> float:
    """Fits the network, and returns its error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args(arguments)
    key, of_points = jax.random.split(jax.random.key(0))
    x, t = jax.random.uniform(of_points, (2, 500), minval=jnp.array([[-1.0], [0.0]]))

    # The points are arguments of the loss; in a closure they would be constants of the program.
    result = fo.minimize(loss_fn, init(key), x, t, max_iter=options.steps)

    grid = jnp.meshgrid(jnp.linspace(-1.0, 1.0, 41), jnp.linspace(0.0, 1.0, 41))
    places, times = (axis.ravel() for axis in grid)
    found = jax.vmap(u, in_axes=(None, 0, 0))(result.params, places, times)
    error = float(jnp.sqrt(jnp.mean(jnp.square(found - exact(places, times)))))
    print(f"{result.n_iter} iterations, {result.n_evals} evaluations, loss {result.value:.1e}")
    print(f"Root mean square error against the exact solution: {error:.1e}")
    return error


if __name__ == "__main__":
    main()
