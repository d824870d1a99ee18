"""Writes the report, a self-contained HTML file."""

import os
import platform
from collections.abc import Iterator
from html import escape
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

import functional_optim as fo

from . import page, plots
from .data import TEST_SIZE, TRAIN_SIZE
from .outcome import Outcome
from .race import LEARNING_RATES, Entry

__all__ = ["write_report"]


def write_report(outcome: Outcome, directory: Path) -> Path:
    """Writes `report.html` atomically, and returns its path."""
    path = directory / "report.html"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(render(outcome), encoding="utf-8")
    os.replace(unfinished, path)
    return path


def render(outcome: Outcome) -> str:
    """Renders the report as HTML."""
    config = outcome.config
    return page.page(
        "Training on handwritten digits",
        f"functional_optim {fo.__version__}: {config.rule}, {config.epochs} epochs of "
        f"{config.steps_per_epoch} batches of {config.batch_size} images, seed {config.seed}.",
        _tiles(outcome),
        _training(outcome),
        _interfaces(outcome),
        _race(outcome) if outcome.race else "",
        _mistakes(outcome),
        _surroundings(),
    )


def _tiles(outcome: Outcome) -> str:
    parameters = sum(p.size for p in jax.tree.leaves(outcome.state.params))
    return page.tiles(
        [
            (f"{outcome.accuracy:.2%}", f"right, of {TEST_SIZE} held-out images"),
            (f"{parameters:,}", f"parameters, trained on {TRAIN_SIZE:,} images"),
            (f"{outcome.comparison.difference:.1g}", "difference between the two interfaces"),
            (f"{outcome.seconds:.0f} s", "for all of this page"),
        ]
    )


def _training(outcome: Outcome) -> str:
    hyperparams = fo.get_hyperparams(outcome.state.opt_state)
    links = ", ".join(outcome.state.opt_state._fields)
    max_norm = float(hyperparams["max_norm"])
    return page.section(
        "Training",
        f"A chain of {links}. One jitted scan per epoch, and a checkpoint after each. "
        f"{_resumption(outcome)} {_clipping(outcome, max_norm)}",
        page.charts(*_charts(outcome, max_norm)),
        *_comparison(outcome),
        "<p>Its hyperparameters, as the last step left them in the state:</p>",
        page.facts((name, _number(value)) for name, value in hyperparams.items()),
    )


def _charts(outcome: Outcome, max_norm: float) -> Iterator[str]:
    reference = outcome.reference
    grey = f" Grey: {reference.rule}, on the same batches." if reference else ""
    yield page.chart(
        "Loss",
        plots.loss_chart(outcome),
        "Training: each step (pale) and the mean over the steps of an epoch, on images that are "
        "shifted at random, while the parameters change. Held out: images that are not trained on, "
        "as they are, after the epoch. So the training loss may be above the held-out loss." + grey,
    )
    yield page.chart(
        "Accuracy",
        plots.accuracy_chart(outcome),
        "Training and held-out images as they are, after each epoch." + grey,
    )
    yield page.chart(
        "Norm of the gradient",
        plots.gradient_chart(outcome, max_norm),
        "The norm at each step (pale), before clipping, and its mean over an epoch.",
    )
    if np.isfinite(outcome.curves["learning_rate"]).any():
        yield page.chart("Learning rate", plots.schedule_chart(outcome), "The rate at each step.")


def _clipping(outcome: Outcome, max_norm: float) -> str:
    if not np.isfinite(max_norm):
        return "This rule needs the gradient as it is, which is not clipped."
    clipped = (outcome.curves["gradient_norm"] > max_norm).mean()
    return f"{clipped:.0%} of the steps had their gradient clipped."


def _comparison(outcome: Outcome) -> Iterator[str]:
    """Yields a table of both trainings at their end, if there are two."""
    if outcome.reference is None:
        return
    yield (
        f"<p>The last epoch, next to {escape(outcome.reference.rule)}, which trains from the same "
        f"parameters on the same batches. One image is {1 / TEST_SIZE:.2%}, and this is one seed: "
        "small differences are chance. The training loss is the mean over the epoch.</p>"
    )
    head = ["rule", "train loss", "held-out loss", "accuracy"]
    yield page.table(
        head,
        (
            [
                rule,
                f"{curves['loss'][-1].mean():.4f}",
                f"{curves['test_loss'][-1]:.4f}",
                f"{curves['test_accuracy'][-1]:.2%}",
            ]
            for rule, curves in outcome.trainings
        ),
    )


def _number(value: jax.Array) -> str:
    """Formats a hyperparameter; one of a partition may have a value for each label."""
    return ", ".join(f"{x:.6g}" for x in np.ravel(value))


def _resumption(outcome: Outcome) -> str:
    if outcome.resumed == 0:
        return "It ran without interruption."
    if outcome.resumed == outcome.config.epochs:
        return "It was complete when this report was made."
    return f"It was resumed after epoch {outcome.resumed}."


def _interfaces(outcome: Outcome) -> str:
    _, _, steps, seconds = outcome.comparison
    return page.section(
        "Two interfaces, one definition",
        f"The same training again, now {steps} calls of Optimizer.minimize on the same "
        f"batches, in {seconds:.1f} seconds. {outcome.interfaces}",
    )


def _race(outcome: Outcome) -> str:
    head = ["rule", *(f"{rate:.1e}" for rate in LEARNING_RATES), "seconds", "compilations"]
    winner = max(outcome.race, key=lambda entry: entry.accuracy[entry.best])
    return page.section(
        "Race of the rules",
        f"Each rule at {len(LEARNING_RATES)} constant learning rates at once: states with "
        "different learning rates are vmapped through one compiled program, from the same "
        f"parameters and on the same batches. Best: {winner.rule} at "
        f"{LEARNING_RATES[winner.best]:.1e}.",
        page.chart(
            "Mistakes over the learning rates",
            plots.race_chart(outcome),
            "The large dot is the best learning rate of a rule.",
        ),
        page.table(head, (list(_race_row(entry)) for entry in outcome.race)),
    )


def _race_row(entry: Entry) -> Iterator[str]:
    yield entry.rule
    for i, share in enumerate(entry.accuracy):
        best = ' class="best"' if i == entry.best else ""
        # The tint is full at 100%, and absent at 80% and below.
        tint = max(0.0, (float(share) - 0.8) / 0.2)
        yield f'<td{best} style="background: rgb(34 197 94 / {0.6 * tint:.2f})">{share:.1%}</td>'
    yield f"{entry.seconds:.1f}"
    yield str(entry.compilations)


def _mistakes(outcome: Outcome) -> str:
    wrong = TEST_SIZE - outcome.right
    return page.section(
        "Mistakes",
        f"{wrong} of {TEST_SIZE} held-out images"
        + (f"; the first {len(outcome.mistakes)}:" if wrong > len(outcome.mistakes) else "."),
        page.gallery(outcome.mistakes),
    )


def _surroundings() -> str:
    device = jax.devices()[0]
    libraries = ["jax", "jaxlib", "numpy", "orbax-checkpoint", "scikit-learn", "matplotlib"]
    rows = [
        ("device", f"{device.device_kind} ({device.platform})"),
        ("machine", f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}"),
        ("python", platform.python_version()),
        ("functional_optim", fo.__version__),
        *((name, version(name)) for name in libraries),
    ]
    return page.section("Where it ran", "Device and versions of this run.", page.facts(rows))
