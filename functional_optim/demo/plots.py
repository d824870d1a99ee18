"""Draws the report's charts as SVG.

A chart is as wide as half of the page, or as a telephone, and its text has the size of the page's.
Legends are above the curves, so that they cover none.
"""

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .extras import require
from .outcome import Outcome
from .race import LEARNING_RATES

__all__ = ["accuracy_chart", "gradient_chart", "loss_chart", "race_chart", "schedule_chart"]

_BLUE, _ORANGE, _GREY = "#2563eb", "#ea580c", "#9ca3af"
_DARK_GREY = "#4b5563"
_COLOURS = ("#2563eb", "#0d9488", "#ea580c", "#7c3aed", "#dc2626")
_INCHES = (4.2, 3.0)
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "axes.labelcolor": "#374151",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.5,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "legend.borderaxespad": 0.2,
    "legend.columnspacing": 1.2,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "functional_optim",
    "xtick.color": _DARK_GREY,
    "ytick.color": _DARK_GREY,
}


def loss_chart(outcome: Outcome) -> str:
    """Plots the loss of each step, its mean over each epoch, and the loss on held-out images."""

    def draw(axes: Any) -> None:
        loss = outcome.curves["loss"]
        axes.plot(_step_axis(loss), loss.ravel(), color=_BLUE, alpha=0.25, linewidth=0.7)
        _plot_epochs(axes, loss.mean(axis=1), _BLUE, "training, epoch mean")
        _plot_epochs(axes, outcome.curves["test_loss"], _ORANGE, "held out")
        _plot_reference(axes, outcome, lambda curves: curves["test_loss"])
        axes.set(yscale="log", ylabel="loss, nats")
        _label_log_axis(axes)

    return _by_epoch("Loss", outcome, draw)


def accuracy_chart(outcome: Outcome) -> str:
    """Plots the accuracy after each epoch."""

    def draw(axes: Any) -> None:
        _plot_epochs(axes, 100 * outcome.curves["train_accuracy"], _BLUE, "training")
        _plot_epochs(axes, 100 * outcome.curves["test_accuracy"], _ORANGE, "held out")
        _plot_reference(axes, outcome, lambda curves: 100 * curves["test_accuracy"])
        axes.set(ylabel="accuracy, %")

    return _by_epoch("Accuracy", outcome, draw)


def gradient_chart(outcome: Outcome, max_norm: float) -> str:
    """Plots the norm of the gradient at each step, before clipping."""

    def draw(axes: Any) -> None:
        norm = outcome.curves["gradient_norm"]
        axes.plot(_step_axis(norm), norm.ravel(), color=_BLUE, alpha=0.25, linewidth=0.7)
        _plot_epochs(axes, norm.mean(axis=1), _BLUE, "epoch mean")
        if np.isfinite(max_norm):
            axes.axhline(max_norm, color=_DARK_GREY, linestyle="--", label="clipped above")
        axes.set(yscale="log", ylabel="norm of the gradient")
        _label_log_axis(axes)

    return _by_epoch("Norm of the gradient", outcome, draw)


def schedule_chart(outcome: Outcome) -> str:
    """Plots the learning rate of each step."""

    def draw(axes: Any) -> None:
        rate = outcome.curves["learning_rate"]
        axes.plot(_step_axis(rate), rate.ravel(), color=_BLUE)
        axes.set(ylabel="learning rate")
        axes.ticklabel_format(axis="y", style="plain", useOffset=False)

    return _by_epoch("Learning rate", outcome, draw)


def race_chart(outcome: Outcome) -> str:
    """Plots the mistakes of each rule over the learning rates, and marks the best rate."""

    def draw(axes: Any) -> None:
        for entry, colour in zip(outcome.race, _COLOURS, strict=True):
            mistakes = 100 * (1 - entry.accuracy)
            axes.plot(LEARNING_RATES, mistakes, color=colour, label=entry.rule, marker=".")
            axes.plot(LEARNING_RATES[entry.best], mistakes[entry.best], "o", color=colour)
        axes.set(xscale="log", xlabel="learning rate", ylabel="held-out images wrong, %")
        # The scale is linear near zero, because a rule may make no mistakes.
        axes.set_yscale("symlog", linthresh=1, linscale=0.3)
        axes.set_yticks([0, 1, 3, 10, 30, 100], ["0", "1", "3", "10", "30", "100"])
        axes.set_ylim(0, 100)
        axes.minorticks_off()
        rates = [1e-4, 1e-3, 1e-2, 1e-1]
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        _legend_above(axes, 3)

    return _svg("Race of the rules", draw)


def _by_epoch(title: str, outcome: Outcome, draw: Callable[[Any], None]) -> str:
    """Draws a chart over epochs, with a line where the run was resumed."""

    def whole(axes: Any) -> None:
        draw(axes)
        if 0 < outcome.resumed < outcome.config.epochs:
            axes.axvline(outcome.resumed, color=_DARK_GREY, linestyle=":", label="resumed")
        axes.set(xlabel="epoch", xlim=(0, outcome.config.epochs))
        axes.locator_params(axis="x", integer=True)
        _legend_above(axes, 2)

    return _svg(title, whole)


def _plot_epochs(axes: Any, values: np.ndarray, colour: str, label: str, **style: Any) -> None:
    epochs = np.arange(1, len(values) + 1)
    axes.plot(epochs, values, color=colour, label=label, **{"marker": ".", "markersize": 3} | style)


def _plot_reference(
    axes: Any, outcome: Outcome, values: Callable[[dict[str, np.ndarray]], np.ndarray]
) -> None:
    """Plots the curve of the other rule, thin and grey, if there is one."""
    if outcome.reference is not None:
        rule, curves = outcome.reference
        style = {"marker": "", "linewidth": 1.0}
        _plot_epochs(axes, values(curves), _DARK_GREY, f"{rule}, held out", **style)


def _legend_above(axes: Any, columns: int) -> None:
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        # Two columns with the longest names would be wider than the chart.
        columns = 1 if max(map(len, labels)) > 24 else min(columns, len(labels))
        axes.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1.01))


def _label_log_axis(axes: Any) -> None:
    """Writes plain numbers on a logarithmic axis, three to a decade at most."""
    ticker = require("matplotlib.ticker")
    low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def _step_axis(curve: np.ndarray) -> np.ndarray:
    """Returns the positions of the steps, in epochs."""
    return (np.arange(curve.size) + 1) / curve.shape[1]


def _svg(title: str, draw: Callable[[Any], None]) -> str:
    """Draws a chart, with text as text and not as outlines."""
    with require("matplotlib").rc_context(_STYLE):
        figure = require("matplotlib.figure").Figure(figsize=_INCHES, layout="constrained")
        draw(figure.subplots())
        return _markup(title, figure)


def _markup(title: str, figure: Any) -> str:
    """Writes a figure as an element of a page."""
    file = io.StringIO()
    # Without metadata, equal charts have equal text.
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    # An XML prolog is an error within HTML, and its DTD would be an external resource.
    svg = file.getvalue().partition("<svg")[2]
    return re.sub(r"^", f'<svg role="img" aria-label="{title}"', svg, count=1)
