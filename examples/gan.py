"""Trains a generator against a discriminator, each with an optimizer, on points in the plane.

    python examples/gan.py

This program shows two optimizers in one step, and an optimizer that is made for games: with
`optimistic_adam_v2` each player also uses its previous gradient, which damps the circling of the
two around their equilibrium; `--plain` uses Adam instead. The real points are drawn from eight
Gaussians. The generator is evaluated at an average of its parameters (`params_ema`). The program
takes a quarter of a minute on two cores.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import functional_optim as fo

Array = jax.Array
Params = list[dict[str, Array]]

MODES, RADIUS, SPREAD, NOISE, BATCH = 8, 2.0, 0.2, 8, 256


def centres() -> Array:
    """Returns the centres of the Gaussians, `(MODES, 2)`, on a circle."""
    angles = 2 * jnp.pi * jnp.arange(MODES) / MODES
    return RADIUS * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)


def real(key: Array) -> Array:
    """Draws points of the Gaussians."""
    which, noise = jax.random.split(key)
    chosen = centres()[jax.random.randint(which, (BATCH,), 0, MODES)]
    return chosen + SPREAD * jax.random.normal(noise, (BATCH, 2))


def init(key: Array, sizes: Sequence[int]) -> Params:
    """Makes the layers of a network."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"kernel": jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, "bias": jnp.zeros(n)}
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def network(params: Params, x: Array) -> Array:
    """Applies all layers, with leaky rectifiers between them."""
    for layer in params[:-1]:
        x = jax.nn.leaky_relu(x @ layer["kernel"] + layer["bias"][None], 0.2)
    return x @ params[-1]["kernel"] + params[-1]["bias"][None]


class Players(NamedTuple):
    """The parameters, or the states, of both players."""

    generator: Any
    discriminator: Any


def generator_loss(generator: Params, discriminator: Params, noise: Array) -> Array:
    """Computes -log p(real) of generated points, which does not saturate early."""
    return jnp.mean(jax.nn.softplus(-network(discriminator, network(generator, noise))))


def discriminator_loss(discriminator: Params, generator: Params, noise: Array, x: Array) -> Array:
    """Computes the cross-entropy of telling real points from generated ones."""
    fake = network(discriminator, network(generator, noise))
    return jnp.mean(jax.nn.softplus(fake) + jax.nn.softplus(-network(discriminator, x)))


def optimizers(plain: bool, steps: int) -> Players:
    """Makes both optimizers, with a low b1 because each player changes the other's gradients."""
    make = fo.adam if plain else fo.optimistic_adam_v2
    rate = fo.linear_schedule(2e-3, 5e-4, steps)
    average = fo.params_ema(0.99)
    return Players(fo.chain(make(rate, b1=0.5), average), make(rate, b1=0.5))


def covered(points: Array) -> tuple[int, float]:
    """Counts the Gaussians that have points, and computes the share of points near one."""
    distances = jnp.linalg.norm(points[:, None] - centres()[None], axis=2)
    near = distances.min(axis=1) < 3 * SPREAD
    counts = jnp.bincount(jnp.where(near, distances.argmin(axis=1), MODES), length=MODES + 1)
    return int((counts[:MODES] > len(points) // 100).sum()), float(near.mean())


def main(arguments: Sequence[str] | None = None) -> tuple[int, float]:
    """Trains both, and returns the number of Gaussians found and the share of points near them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--plain", action="store_true", help="Adam for both")
    options = parser.parse_args(arguments)
    keys = jax.random.split(jax.random.key(0), 4)
    tx = optimizers(options.plain, options.steps)
    params = Players(init(keys[0], (NOISE, 64, 64, 2)), init(keys[1], (2, 64, 64, 1)))
    states = Players(
        tx.generator.init(params.generator), tx.discriminator.init(params.discriminator)
    )

    def step(carry: tuple[Players, Players], key: Array) -> tuple[tuple[Players, Players], Array]:
        """Updates both players, with gradients at the same parameters."""
        (g, d), states = carry
        of_noise, of_data = jax.random.split(key)
        noise = jax.random.normal(of_noise, (BATCH, NOISE))
        grads = jax.grad(generator_loss)(g, d, noise)
        loss, against = jax.value_and_grad(discriminator_loss)(d, g, noise, real(of_data))
        g, of_g = fo.apply_gradients(tx.generator, grads, states.generator, g)
        d, of_d = fo.apply_gradients(tx.discriminator, against, states.discriminator, d)
        return (Players(g, d), Players(of_g, of_d)), loss

    run = jax.jit(
        lambda *carry: jax.lax.scan(step, carry, jax.random.split(keys[2], options.steps))
    )
    (params, states), losses = run(params, states)
    average = fo.eval_params(states.generator, params.generator)
    found, near = covered(network(average, jax.random.normal(keys[3], (4096, NOISE))))
    print(
        f"{found} of {MODES} Gaussians found, {near:.0%} of the points within 3 deviations of one"
    )
    print(f"the discriminator's loss at the end: {losses[-1]:.2f}; guessing has a loss of 1.39")
    return found, near


if __name__ == "__main__":
    main()
