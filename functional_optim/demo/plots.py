"""The report's charts, as SVG."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .extras import require
from .outcome import Outcome
from .race import LEARNING_RATES

__all__ = ["accuracy_chart", "gradient_chart", "loss_chart", "race_chart", "schedule_chart"]

_BLUE, _ORANGE, _GREY = "#2563eb", "#ea580c", "#9ca3af"
_COLOURS = ("#2563eb", "#0d9488", "#ea580c", "#7c3aed", "#dc2626")
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "axes.labelcolor": "#374151",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "functional_optim",
    "xtick.color": "#6b7280",
    "ytick.color": "#6b7280",
}


def loss_chart(outcome: Outcome) -> str:
    """Loss of each step, its mean over each epoch, and that of the held-out images."""

    def draw(axes: Any) -> None:
        loss = outcome.curves["loss"]
        axes.plot(_step_axis(loss), loss.ravel(), color=_BLUE, alpha=0.25, linewidth=0.7)
        _plot_epochs(axes, loss.mean(axis=1), _BLUE, "training, epoch mean")
        _plot_epochs(axes, outcome.curves["test_loss"], _ORANGE, "held out")
        axes.set(yscale="log", ylabel="loss, nats")

    return _by_epoch("Loss", outcome, draw)


def accuracy_chart(outcome: Outcome) -> str:
    """Plots the accuracy after each epoch."""

    def draw(axes: Any) -> None:
        _plot_epochs(axes, 100 * outcome.curves["train_accuracy"], _BLUE, "training")
        _plot_epochs(axes, 100 * outcome.curves["test_accuracy"], _ORANGE, "held out")
        axes.set(ylabel="accuracy, %")

    return _by_epoch("Accuracy", outcome, draw)


def gradient_chart(outcome: Outcome, max_norm: float) -> str:
    """Plots the norm of the gradient at each step, before clipping."""

    def draw(axes: Any) -> None:
        norm = outcome.curves["gradient_norm"]
        axes.plot(_step_axis(norm), norm.ravel(), color=_BLUE, alpha=0.25, linewidth=0.7)
        _plot_epochs(axes, norm.mean(axis=1), _BLUE, "epoch mean")
        axes.axhline(max_norm, color=_GREY, linestyle="--", label="clipped above")
        axes.set(yscale="log", ylabel="norm of the gradient")

    return _by_epoch("Norm of the gradient", outcome, draw)


def schedule_chart(outcome: Outcome) -> str:
    """Plots the learning rate of each step."""

    def draw(axes: Any) -> None:
        rate = outcome.curves["learning_rate"]
        axes.plot(_step_axis(rate), rate.ravel(), color=_BLUE)
        axes.set(ylabel="learning rate")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))

    return _by_epoch("Learning rate", outcome, draw)


def race_chart(outcome: Outcome) -> str:
    """Mistakes of each rule over the learning rates; the best of each is marked."""

    def draw(axes: Any) -> None:
        for entry, colour in zip(outcome.race, _COLOURS, strict=True):
            mistakes = 100 * (1 - entry.accuracy)
            axes.plot(LEARNING_RATES, mistakes, color=colour, label=entry.rule, marker=".")
            axes.plot(LEARNING_RATES[entry.best], mistakes[entry.best], "o", color=colour)
        axes.set(xscale="log", xlabel="learning rate", ylabel="held-out images wrong, %")
        # Linear near zero, which a logarithm does not have.
        axes.set_yscale("symlog", linthresh=1, linscale=0.3)
        axes.set_yticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
        axes.set_ylim(0, 100)
        axes.minorticks_off()
        axes.legend(ncols=len(outcome.race), loc="lower center", bbox_to_anchor=(0.5, 1.0))

    return _svg("Race of the rules", draw, (9.4, 3.4))


def _by_epoch(title: str, outcome: Outcome, draw: Callable[[Any], None]) -> str:
    def whole(axes: Any) -> None:
        draw(axes)
        if 0 < outcome.resumed < outcome.config.epochs:
            axes.axvline(outcome.resumed, color=_GREY, linestyle=":", label="resumed")
        axes.set(xlabel="epoch", xlim=(0, outcome.config.epochs))
        if len(axes.get_legend_handles_labels()[0]) > 0:
            axes.legend()

    return _svg(title, whole, (4.6, 2.9))


def _plot_epochs(axes: Any, values: np.ndarray, colour: str, label: str) -> None:
    epochs = np.arange(1, len(values) + 1)
    axes.plot(epochs, values, color=colour, label=label, marker=".", markersize=3)


def _step_axis(curve: np.ndarray) -> np.ndarray:
    """Returns the positions of the steps, in epochs."""
    return (np.arange(curve.size) + 1) / curve.shape[1]


def _svg(title: str, draw: Callable[[Any], None], inches: Sequence[float]) -> str:
    """Draws one chart; the text stays text."""
    with require("matplotlib").rc_context(_STYLE):
        figure = require("matplotlib.figure").Figure(figsize=inches, layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    # Within a page the XML prolog is an error, and its DTD would be an external resource.
    svg = file.getvalue().partition("<svg")[2]
    return re.sub(r"^", f'<svg role="img" aria-label="{title}"', svg, count=1)
