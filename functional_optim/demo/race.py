"""Compares rules over a grid of learning rates, with one compiled program for each rule."""

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import functional_optim as fo

from .config import Config
from .data import Digits, draw
from .progress import Progress
from .rules import RACED, make_optimizer
from .train import TrainState, epoch_function, start

__all__ = ["LEARNING_RATES", "Entry", "count_compilations", "race"]

LEARNING_RATES = tuple(10.0 ** (k / 2) for k in range(-8, 0))
"""Two learning rates per decade, from 1e-4 to 0.3; the optimum of each raced rule is between."""

_MAX_EPOCHS = 10
"""Largest number of epochs of a race, after which the learning rates clearly differ."""


class Entry(NamedTuple):
    """The result of one rule.

    Attributes:
      rule: name of the rule.
      accuracy: accuracy on the held-out images, for each learning rate.
      seconds: time of the whole sweep, including compilation.
      compilations: number of programs that XLA compiled for the sweep.
    """

    rule: str
    accuracy: np.ndarray
    seconds: float
    compilations: int

    @property
    def best(self) -> int:
        """Index of the learning rate with the highest accuracy."""
        return int(np.argmax(self.accuracy))


def race(config: Config, digits: Digits) -> list[Entry]:
    """Sweeps the learning rates of each rule, with the same initial parameters and batches."""
    entries = []
    with Progress("race", len(RACED)) as progress:
        for rule in RACED:
            entry = sweep(rule, config, digits)
            entries.append(entry)
            best = f"{entry.accuracy[entry.best]:.2%}"
            progress.advance({rule: best, "at lr": f"{LEARNING_RATES[entry.best]:.1e}"})
    return entries


def sweep(rule: str, config: Config, digits: Digits) -> Entry:
    """Trains with each learning rate, held constant, by one epoch function vmapped over states."""
    began = time.perf_counter()
    tx = make_optimizer(rule, learning_rate=0.0)
    state = start(config, tx)

    def with_rate(learning_rate: jax.Array) -> TrainState:
        opt_state = fo.set_hyperparams(state.opt_state, learning_rate=learning_rate)
        return state._replace(opt_state=opt_state)

    states = jax.vmap(with_rate)(jnp.array(LEARNING_RATES))
    run_epoch = jax.jit(jax.vmap(epoch_function(tx), in_axes=(0, None, None)), donate_argnums=0)
    key = state.key  # all learning rates train on the same batches
    with count_compilations("epoch") as compiled:
        for _ in range(min(config.epochs, _MAX_EPOCHS)):
            key, batches = draw(key, digits, config.batch_size)
            states, measured = run_epoch(states, batches, digits)
    accuracy = np.asarray(measured["test_accuracy"])
    return Entry(rule, accuracy, time.perf_counter() - began, len(compiled))


@contextlib.contextmanager
def count_compilations(function: str) -> Iterator[list[str]]:
    """Lists the programs named `function` that are compiled within the block."""
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **details: str | int) -> None:
        name = str(details.get("fun_name"))
        if event == "/jax/core/compile/backend_compile_duration" and name == f"jit({function})":
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
