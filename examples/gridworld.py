"""Finds a path through a small maze by policy gradients (REINFORCE), with two schedules.

    python examples/gridworld.py

The policy is a table of logits for each cell. Two numbers decay during the run: the learning rate,
by a schedule of the optimizer, and the weight of the entropy in the loss, by a schedule that the
loop evaluates at the same step. The baseline is the mean return of the other episodes of the batch.
The program takes ten seconds on two cores.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

import functional_optim as fo

Array = jax.Array

MAZE = ("S..#.", ".#...", ".#.#.", "...#G")
HEIGHT, WIDTH = len(MAZE), len(MAZE[0])
WALLS = jnp.array([[cell == "#" for cell in row] for row in MAZE])
GOAL = jnp.array([HEIGHT - 1, WIDTH - 1])
MOVES = jnp.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
ARROWS = "^>v<"
SHORTEST, LONGEST, EPISODES = 7, 40, 32


def move(at: Array, action: Array) -> Array:
    """Returns the next cell; walls and the border block a move, and the goal is final."""
    there = jnp.clip(at + MOVES[action], 0, jnp.array([HEIGHT - 1, WIDTH - 1]))
    stays = WALLS[there[0], there[1]] | jnp.all(at == GOAL)
    return jnp.where(stays, at, there)


def episode(logits: Array, key: Array) -> tuple[Array, Array, Array]:
    """Follows the policy; returns cells, actions, and whether the goal was not yet reached."""

    def step(at: Array, key: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        action = jax.random.categorical(key, logits[at[0], at[1]])
        return move(at, action), (at, action, ~jnp.all(at == GOAL))

    return jax.lax.scan(step, jnp.array([0, 0]), jax.random.split(key, LONGEST))[1]


def loss_fn(logits: Array, key: Array, entropy_weight: Array) -> tuple[Array, Array]:
    """Computes a loss with the policy gradient as its gradient, and the mean length."""
    fixed = jax.lax.stop_gradient(logits)  # the episodes are data, without a gradient
    keys = jax.random.split(key, EPISODES)
    cells, actions, moving = jax.vmap(episode, in_axes=(None, 0))(fixed, keys)
    # Each step costs 1: the return from a step is minus the number of steps that follow.
    costs = moving.astype(jnp.float32)
    returns = -jnp.cumsum(costs[:, ::-1], axis=1)[:, ::-1]
    baseline = (returns.sum(axis=0, keepdims=True) - returns) / (EPISODES - 1)
    log_p = jax.nn.log_softmax(logits[cells[..., 0], cells[..., 1]])
    chosen = jnp.take_along_axis(log_p, actions[..., None], axis=-1)[..., 0]
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    gain = chosen * (returns - baseline) + entropy_weight * entropy
    return -jnp.sum(costs * gain) / EPISODES, costs.sum() / EPISODES


def way(logits: Array) -> tuple[int, str]:
    """Follows the most likely actions; returns the number of steps and a picture of the path."""
    picture = [list(row) for row in MAZE]
    at, steps = jnp.array([0, 0]), 0
    while steps < LONGEST and not jnp.all(at == GOAL):
        row, column = (int(i) for i in at)
        action = jnp.argmax(logits[row, column])
        picture[row][column] = ARROWS[int(action)]
        at, steps = move(at, action), steps + 1
    return steps, "\n".join("".join(row) for row in picture)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains the policy, and returns the number of steps of its path to the goal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args(arguments)
    entropy_weight = fo.linear_schedule(1.0, 0.0, options.steps)
    tx = fo.adam(fo.linear_schedule(0.1, 0.01, options.steps))
    logits = jnp.zeros((HEIGHT, WIDTH, 4))

    def step(carry: tuple[Array, Any], inputs: tuple[Array, Array]) -> tuple[Any, Array]:
        logits, state = carry
        i, key = inputs
        grads, length = jax.grad(loss_fn, has_aux=True)(logits, key, entropy_weight(i))
        return fo.apply_gradients(tx, grads, state, logits), length

    @jax.jit
    def run(logits: Array, keys: Array) -> tuple[Array, Array]:
        inputs = (jnp.arange(options.steps), keys)
        (logits, _), lengths = jax.lax.scan(step, (logits, tx.init(logits)), inputs)
        return logits, lengths

    logits, lengths = run(logits, jax.random.split(jax.random.key(0), options.steps))
    steps, picture = way(logits)
    print(f"mean length of an episode: {lengths[0]:.1f} at first, {lengths[-1]:.1f} at the end")
    print(f"the most likely path has {steps} steps; the shortest has {SHORTEST}\n\n{picture}")
    return steps


if __name__ == "__main__":
    main()
