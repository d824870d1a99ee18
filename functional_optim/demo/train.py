"""The main training: a jitted scan per epoch, a checkpoint after each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import functional_optim as fo

from . import model
from .checkpoint import Checkpoints
from .config import Config
from .data import Batches, Digits, draw
from .progress import Progress

__all__ = ["Curves", "TrainState", "epoch_function", "start", "train"]

Curves = dict[str, np.ndarray]
"""Name -> `(epochs, steps)` or `(epochs,)`; NaN where the run has not come to yet."""


class TrainState(NamedTuple):
    """All that the next epoch depends on."""

    params: model.Params
    opt_state: fo.State
    key: jax.Array


def start(config: Config, tx: fo.GradientTransformation) -> TrainState:
    """Returns the state before the first epoch."""
    draw_key, init_key = jax.random.split(jax.random.key(config.seed))
    params = model.init(init_key)
    return TrainState(params, tx.init(params), draw_key)


def train(
    config: Config, tx: fo.GradientTransformation, digits: Digits, checkpoints: Checkpoints
) -> tuple[TrainState, Curves]:
    """Trains from the latest checkpoint, or from the start, to the last epoch."""
    state, curves = start(config, tx), _blank_curves(config)
    done = checkpoints.latest_epoch
    if done:
        state, curves = checkpoints.restore((state, curves))
    run_epoch = jax.jit(epoch_function(tx), donate_argnums=0)
    with Progress("training", config.epochs, done) as progress:
        for epoch in range(done, config.epochs):
            key, batches = draw(state.key, digits, config.batch_size)
            state, measured = run_epoch(state._replace(key=key), batches, digits)
            for name, value in measured.items():
                curves[name][epoch] = value
            checkpoints.save(epoch + 1, (state, curves))
            progress.advance(_summary(curves, epoch))
    return state, curves


def epoch_function(tx: fo.GradientTransformation) -> Callable[..., Any]:
    """Makes the function of one epoch: a scan over its batches, then the held-out images."""

    def step(state: TrainState, batch: Batches) -> tuple[TrainState, dict[str, jax.Array]]:
        loss, grads = jax.value_and_grad(model.loss_fn)(state.params, *batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = fo.apply_updates(state.params, updates)
        measured = {
            "loss": loss,
            "learning_rate": fo.get_hyperparams(opt_state)["learning_rate"],
            "gradient_norm": opt_state.clip_by_global_norm.metrics["global_norm"],
        }
        return state._replace(params=params, opt_state=opt_state), measured

    def epoch(
        state: TrainState, batches: Batches, digits: Digits
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        state, measured = jax.lax.scan(step, state, batches)
        seen = digits.train_images, digits.train_labels
        held_out = digits.test_images, digits.test_labels
        return state, {
            **measured,
            "train_accuracy": model.accuracy(state.params, *seen),
            "test_accuracy": model.accuracy(state.params, *held_out),
            "test_loss": model.loss_fn(state.params, *held_out),
        }

    return epoch


def _blank_curves(config: Config) -> Curves:
    by_step = ("loss", "learning_rate", "gradient_norm")
    by_epoch = ("train_accuracy", "test_accuracy", "test_loss")
    shape = (config.epochs, config.steps_per_epoch)
    shapes = dict.fromkeys(by_step, shape) | dict.fromkeys(by_epoch, shape[:1])
    return {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}


def _summary(curves: Curves, epoch: int) -> dict[str, str]:
    """Formats an epoch for the progress bar: means of its steps, and its last learning rate."""
    return {
        "loss": f"{curves['loss'][epoch].mean():.4f}",
        "accuracy": f"{curves['test_accuracy'][epoch]:.2%}",
        "lr": f"{curves['learning_rate'][epoch, -1]:.2e}",
        "grad norm": f"{curves['gradient_norm'][epoch].mean():.3f}",
    }
