"""The results of a run of the demo."""

import dataclasses
from typing import NamedTuple

from .config import Config
from .data import TEST_SIZE
from .race import Entry
from .stateful import Comparison
from .train import Curves, TrainState

__all__ = ["Outcome", "Reference"]


class Reference(NamedTuple):
    """A training with another rule, from the same parameters and on the same batches.

    Attributes:
      rule: name of the rule.
      curves: its curves.
    """

    rule: str
    curves: Curves


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of a run of the demo.

    Attributes:
      config: the configuration of the run.
      state: the state after the last epoch.
      curves: loss, accuracy and other quantities over the training.
      resumed: number of epochs that an earlier process had trained.
      comparison: the difference between the two interfaces.
      reference: a training with another rule; None without one.
      race: an entry for each rule; empty without a race.
      mistakes: some of the images that were classified wrongly: SVG, and a caption.
      seconds: running time of this process.
    """

    config: Config
    state: TrainState
    curves: Curves
    resumed: int
    comparison: Comparison
    reference: Reference | None
    race: list[Entry]
    mistakes: list[tuple[str, str]]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Accuracy on the held-out images after the last epoch."""
        return float(self.curves["test_accuracy"][-1])

    @property
    def right(self) -> int:
        """Number of held-out images that were classified correctly."""
        return round(self.accuracy * TEST_SIZE)

    @property
    def interfaces(self) -> str:
        """A sentence that compares the two interfaces."""
        difference, scale = self.comparison.difference, self.comparison.scale
        if difference == 0:
            return "Both interfaces ended at the same parameters, bit for bit."
        return (
            f"The two interfaces' parameters differ by at most {difference:.1e}, where the "
            f"largest is {scale:.2f}: the two programs round differently on this device."
        )

    @property
    def trainings(self) -> list[tuple[str, Curves]]:
        """The rule and the curves of this run, and of the reference."""
        return [(self.config.rule, self.curves), *([self.reference] if self.reference else [])]

    @property
    def summary(self) -> str:
        """The text that is printed at the end."""
        sentences = [
            f"{self.right} of {TEST_SIZE} held-out images right: {self.accuracy:.2%}.",
            *([self.reference_summary] if self.reference else []),
            self.interfaces,
            f"{self.seconds:.0f} seconds.",
        ]
        return "\n".join(["", *sentences])

    @property
    def reference_summary(self) -> str:
        """A sentence that compares the run and the reference."""
        ends = [
            f"{rule} ends at a held-out loss of {curves['test_loss'][-1]:.4f} with "
            f"{curves['test_accuracy'][-1]:.2%} right"
            for rule, curves in self.trainings
        ]
        return f"{', '.join(ends)}: one image is {1 / TEST_SIZE:.2%}."
