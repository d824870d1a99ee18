"""The pictures of the page, as SVG."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .results import Result
from .tasks import Task

__all__ = ["curves", "heat_map"]

_STYLE = {
    "axes.edgecolor": "#9ca3af",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "functional_optim",
}
_ALWAYS = ("adamw", "sgd")
"""Optimizers that readers know, which are drawn together with the best ones."""


def curves(task: Task, results: Sequence[Result], best: int = 8) -> str:
    """Plots the held-out loss of those that end lowest, of AdamW and SGD; the others are grey."""
    order = sorted(results, key=lambda r: np.inf if r["final"] is None else r["final"])
    shown = order[:best] + [r for r in order[best:] if r["name"] in _ALWAYS]

    def draw(axes: Any) -> None:
        for r in order:
            steps = r["setup"]["every"] * (1 + np.arange(len(r["curve"])))
            curve = np.array([np.nan if x is None else x for x in r["curve"]])
            if r in shown:
                axes.plot(steps, curve, label=r["name"], linewidth=1.5, zorder=3)
            else:
                axes.plot(steps, curve, color="#d1d5db", linewidth=0.6)
        axes.axhline(task.target, color="#6b7280", linestyle="--", linewidth=0.8, label="target")
        first = max((r["curve"][0] or 0 for r in shown), default=1)
        axes.set(yscale="log", xlabel="step", ylabel="held-out loss, nats")
        axes.set_ylim(0.9 * min(r["final"] or first for r in shown), 1.5 * first)
        axes.legend(ncols=2, frameon=False)

    return _svg(draw, (7.0, 4.2))


def heat_map(task: Task, results: Sequence[Result]) -> str:
    """Colours the final loss of each setting; a row is an optimizer.

    Rows are sorted by the number of settings that reach the target, then by the final loss. Columns
    are the settings in the order of the sweep. White is a loss that is not finite.
    """
    order = sorted(results, key=lambda r: (-r["reached"], r["final"] or np.inf))
    width = max(len(r["final_of_settings"]) for r in order)
    losses = np.full((len(order), width), np.nan)
    for row, r in zip(losses, order, strict=True):
        row[: len(r["final_of_settings"])] = [
            np.nan if x is None else x for x in r["final_of_settings"]
        ]

    def draw(axes: Any) -> None:
        from matplotlib.colors import LogNorm

        low = np.nanmin(losses)
        norm = LogNorm(low, max(10 * low, 5 * task.target))
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(losses), norm=norm, cmap="viridis_r", rasterized=True
        )
        axes.figure.colorbar(mesh, label="final held-out loss, nats", fraction=0.05, extend="max")
        axes.set_yticks(np.arange(len(order)) + 0.5, [r["name"] for r in order], fontsize=6.5)
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.set_xlabel("settings, in the order of the sweep: the learning rate rises to the right")

    return _svg(draw, (7.0, 1.2 + 0.125 * len(order)))


def _svg(draw: Callable[[Any], None], inches: tuple[float, float]) -> str:
    """Draws a chart; without metadata, equal charts have equal text."""
    # Imported where it draws: a race without a page, and most tests, need no matplotlib.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=no_metadata, facecolor="white", dpi=150)
    return file.getvalue()
