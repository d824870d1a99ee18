"""Shows progress: a bar on a terminal, lines elsewhere."""

import math
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import SupportsFloat

import numpy as np

from .extras import require

__all__ = ["COLUMNS", "Progress", "columns"]

COLUMNS = """\
train loss: mean over the steps of the epoch, on images that are shifted at random, while the
  parameters change. So it may be above the held-out loss.
held-out loss, accuracy: on images that are not trained on, as they are, after the epoch.
lr: learning rate of the epoch's last step."""
"""Explains the columns of a training."""


def columns(
    losses: np.ndarray, learning_rate: SupportsFloat, evaluated: Mapping[str, SupportsFloat]
) -> dict[str, str]:
    """Formats an epoch of a training.

    Args:
      losses: loss `(steps,)` of each step.
      learning_rate: learning rate `()` of the last step; NaN without one.
      evaluated: the measurements after the epoch, as `evaluate` returns them.
    """
    rate = float(learning_rate)
    return {
        "train loss": f"{losses.mean():.4f}",
        "held-out loss": f"{float(evaluated['test_loss']):.4f}",
        "accuracy": f"{float(evaluated['test_accuracy']):.2%}",
        "lr": "found by the line search" if math.isnan(rate) else f"{rate:.2e}",
    }


class Progress:
    """Shows the progress of a loop, and its latest measurements.

    Args:
      name: name of the loop.
      total: number of steps.
      done: number of steps that an earlier process made.
    """

    def __init__(self, name: str, total: int, done: int = 0):
        self._name, self._total, self._done = name, total, done
        self._stride = max(1, total // 10)
        self._bar = require("tqdm").tqdm(
            desc=name,
            total=total,
            initial=done,
            file=sys.stdout,
            disable=not sys.stdout.isatty(),
            dynamic_ncols=True,
        )

    def advance(self, measured: Mapping[str, str]) -> None:
        """Counts a step, and shows its measurements."""
        self._done += 1
        text = ", ".join(f"{name} {value}" for name, value in measured.items())
        if self._bar.disable:
            if self._done % self._stride == 0 or self._done == self._total:
                print(f"{self._name} {self._done}/{self._total}: {text}", flush=True)
        else:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
