"""Trains through the stateful interface, and compares the two interfaces."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo
from functional_optim import optim

from . import model
from .config import Config
from .data import Digits, draw
from .progress import Progress, columns
from .rules import learning_rate_of
from .train import evaluate, start

__all__ = ["Comparison", "compare"]


class Comparison(NamedTuple):
    """The difference between the results of the two interfaces.

    Attributes:
      difference: largest absolute difference of a parameter.
      scale: largest absolute value of a parameter.
      steps: number of calls of `minimize`.
      seconds: time of these calls, including compilation and an evaluation after each epoch.
    """

    difference: float
    scale: float
    steps: int
    seconds: float


def compare(
    config: Config, tx: fo.GradientTransformation, digits: Digits, params: model.Params
) -> Comparison:
    """Trains again with `Optimizer.minimize`, and compares with the parameters of `train`."""
    began = time.perf_counter()
    stateful_params = train_stateful(config, tx, digits)
    seconds = time.perf_counter() - began
    differences = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), params, stateful_params)
    scales = jax.tree.map(lambda a: jnp.max(jnp.abs(a)), params)
    return Comparison(_largest(differences), _largest(scales), config.steps, seconds)


def train_stateful(config: Config, tx: fo.GradientTransformation, digits: Digits) -> model.Params:
    """Trains on the same batches as `train`, with a call of `minimize` for each."""
    params, _, key = start(config, tx)
    opt = optim.Optimizer(params, tx)
    measure = jax.jit(evaluate)
    with Progress("stateful", config.epochs) as progress:
        for _ in range(config.epochs):
            key, batches = draw(key, digits, config.batch_size)
            losses = [
                opt.minimize(model.loss_fn, images, labels)
                for images, labels in zip(*batches, strict=True)
            ]
            measured = measure(opt.eval_params(), digits)
            rate = learning_rate_of(opt.state[0])
            progress.advance(columns(np.array(losses), rate, measured))
    return opt.params


def _largest(tree: dict[str, dict[str, jax.Array]]) -> float:
    return max(float(x) for x in jax.tree.leaves(tree))
