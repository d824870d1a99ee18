"""Approximates a posterior by independent Gaussians (variational inference), and checks it.

    python examples/variational.py

The model is linear regression, whose posterior is known in closed form. So are the best independent
Gaussians: they have the means of the posterior, and the precisions on the diagonal of its precision
matrix. The evidence lower bound is estimated from samples; the learning rate decays to zero, so
that the noise of the samples averages out. The program takes ten seconds on two cores.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

import functional_optim as fo

Array = jax.Array
Params = dict[str, Array]

NOISE, POINTS, WEIGHTS = 0.5, 200, 5


def data(key: Array) -> tuple[Array, Array]:
    """Makes correlated inputs, whose weights are correlated in the posterior, and outputs."""
    keys = jax.random.split(key, 4)
    common = jax.random.normal(keys[0], (POINTS, 1))
    x = jax.random.normal(keys[1], (POINTS, WEIGHTS)) + 0.7 * common
    w = jax.random.normal(keys[2], (WEIGHTS,))
    return x, x @ w + NOISE * jax.random.normal(keys[3], (POINTS,))


def log_joint(w: Array, x: Array, y: Array) -> Array:
    """Computes log p(y, w) up to a constant, with a standard normal prior of the weights."""
    return -0.5 * (jnp.sum(jnp.square((y - x @ w) / NOISE)) + jnp.sum(jnp.square(w)))


def bound(params: Params, key: Array, x: Array, y: Array, samples: int = 8) -> Array:
    """Estimates the negative evidence lower bound, with samples that can be differentiated."""
    std = jnp.exp(params["log_std"])
    noise = jax.random.normal(key, (samples, WEIGHTS))
    w = params["mean"][None] + std[None] * noise
    entropy = jnp.sum(params["log_std"])
    return -jnp.mean(jax.vmap(log_joint, (0, None, None))(w, x, y)) - entropy


def closed_form(x: Array, y: Array) -> Params:
    """Computes the best independent Gaussians of the exact posterior."""
    precision = x.T @ x / NOISE**2 + jnp.eye(WEIGHTS)
    mean = jnp.linalg.solve(precision, x.T @ y / NOISE**2)
    return {"mean": mean, "log_std": -0.5 * jnp.log(jnp.diagonal(precision))}


def main(arguments: Sequence[str] | None = None) -> float:
    """Fits the Gaussians, and returns the largest distance from the closed form."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args(arguments)
    of_data, of_samples = jax.random.split(jax.random.key(0))
    x, y = data(of_data)
    # The first gradients are a thousand times the last ones: with b2 0.999 the second moment would
    # remember them to the end, and the steps of the deviations would be too small.
    tx = fo.adam(fo.cosine_decay_schedule(0.05, options.steps), b2=0.99)
    params = {"mean": jnp.zeros(WEIGHTS), "log_std": jnp.zeros(WEIGHTS)}

    def step(carry: tuple[Params, Any], key: Array) -> tuple[tuple[Params, Any], Array]:
        params, state = carry
        loss, grads = jax.value_and_grad(bound)(params, key, x, y)
        return fo.apply_gradients(tx, grads, state, params), loss

    @jax.jit
    def run(params: Params, keys: Array) -> tuple[Params, Array]:
        (params, _), losses = jax.lax.scan(step, (params, tx.init(params)), keys)
        return params, losses

    params, losses = run(params, jax.random.split(of_samples, options.steps))
    right = closed_form(x, y)
    print("weight   mean found / exact   deviation found / exact")
    for i in range(WEIGHTS):
        means = f"{params['mean'][i]:8.3f} {right['mean'][i]:8.3f}"
        print(f"{i:6} {means} {jnp.exp(params['log_std'][i]):12.4f}", end="")
        print(f" {jnp.exp(right['log_std'][i]):8.4f}")
    print(f"negative bound: {losses[0]:.1f} at the first step, {losses[-1]:.1f} at the last")
    # Distances of means are in standard deviations; distances of deviations are relative.
    apart = jnp.abs(params["mean"] - right["mean"]) / jnp.exp(right["log_std"])
    return float(jnp.maximum(apart, jnp.abs(params["log_std"] - right["log_std"])).max())


if __name__ == "__main__":
    main()
