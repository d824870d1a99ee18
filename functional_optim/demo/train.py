"""Trains with a jitted scan for each epoch, and a checkpoint after it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

import functional_optim as fo

from . import model
from .checkpoint import Checkpoints
from .config import Config
from .data import Batches, Digits, draw
from .progress import Progress, columns
from .rules import learning_rate_of

__all__ = ["Curves", "TrainState", "epoch_function", "evaluate", "start", "train"]

Curves = dict[str, np.ndarray]
"""Name -> `(epochs, steps)` or `(epochs,)`; NaN for epochs that have not run yet."""


class TrainState(NamedTuple):
    """Everything that the next epoch depends on."""

    params: model.Params
    opt_state: fo.State
    key: jax.Array


def start(config: Config, tx: fo.GradientTransformation) -> TrainState:
    """Returns the state before the first epoch."""
    draw_key, init_key = jax.random.split(jax.random.key(config.seed))
    params = model.init(init_key)
    return TrainState(params, tx.init(params), draw_key)


def train(
    name: str,
    config: Config,
    tx: fo.GradientTransformation,
    digits: Digits,
    checkpoints: Checkpoints | None = None,
) -> tuple[TrainState, Curves]:
    """Trains from the latest checkpoint, or from the start, to the last epoch.

    Args:
      name: name of the training, for its progress.
      checkpoints: receives the state after each epoch; None for no checkpoints.
    """
    state, curves = start(config, tx), _blank_curves(config)
    done = checkpoints.latest_epoch if checkpoints else 0
    if checkpoints and done:
        state, curves = checkpoints.restore((state, curves))
    run_epoch = jax.jit(epoch_function(tx), donate_argnums=0)
    with Progress(name, config.epochs, done) as progress:
        for epoch in range(done, config.epochs):
            key, batches = draw(state.key, digits, config.batch_size)
            # The key is part of the state, so that a resumed run draws the same batches.
            state, measured = run_epoch(state._replace(key=key), batches, digits)
            for curve, value in measured.items():
                curves[curve][epoch] = value
            if checkpoints:
                checkpoints.save(epoch + 1, (state, curves))
            latest = {curve: values[epoch] for curve, values in curves.items()}
            progress.advance(columns(latest["loss"], latest["learning_rate"][-1], latest))
    return state, curves


def epoch_function(
    tx: fo.GradientTransformation,
) -> Callable[[TrainState, Batches, Digits], tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the function of one epoch: a scan over its batches, then an evaluation."""

    def step(state: TrainState, batch: Batches) -> tuple[TrainState, dict[str, jax.Array]]:
        def loss_fn(params: model.Params) -> jax.Array:
            return model.loss_fn(params, *batch)

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        # Links take what they need of these: a line search evaluates the loss, most take nothing.
        extra = {"value": loss, "grad": grads, "value_fn": loss_fn}
        params, opt_state = fo.apply_gradients(tx, grads, state.opt_state, state.params, **extra)
        measured = {
            "loss": loss,
            "learning_rate": learning_rate_of(opt_state),
            "gradient_norm": opt_state.clip_by_global_norm.metrics["global_norm"],
        }
        return state._replace(params=params, opt_state=opt_state), measured

    def epoch(
        state: TrainState, batches: Batches, digits: Digits
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        state, measured = jax.lax.scan(step, state, batches)
        point = fo.eval_params(state.opt_state, state.params, default=state.params)
        return state, {**measured, **evaluate(point, digits)}

    return epoch


def evaluate(params: model.Params, digits: Digits) -> dict[str, jax.Array]:
    """Measures parameters on the images as they are: neither shifted nor in batches."""
    trained_on = digits.train_images, digits.train_labels
    held_out = digits.test_images, digits.test_labels
    return {
        "train_accuracy": model.accuracy(params, *trained_on),
        "test_accuracy": model.accuracy(params, *held_out),
        "test_loss": model.loss_fn(params, *held_out),
    }


def _blank_curves(config: Config) -> Curves:
    by_step = ("loss", "learning_rate", "gradient_norm")
    by_epoch = ("train_accuracy", "test_accuracy", "test_loss")
    shape = (config.epochs, config.steps_per_epoch)
    shapes = dict.fromkeys(by_step, shape) | dict.fromkeys(by_epoch, shape[:1])
    return {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
