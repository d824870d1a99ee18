"""The results of a run of the demo."""

import dataclasses

from .config import Config
from .data import TEST_SIZE
from .race import Entry
from .stateful import Comparison
from .train import Curves, TrainState

__all__ = ["Outcome"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of a run of the demo.

    Attributes:
      config: the configuration of the run.
      state: the state after the last epoch.
      curves: loss, accuracy and other quantities over the training.
      resumed: number of epochs that an earlier process had trained.
      comparison: the difference between the two interfaces.
      race: an entry for each rule; empty without a race.
      mistakes: some of the images that were classified wrongly: SVG, and a caption.
      seconds: running time of this process.
    """

    config: Config
    state: TrainState
    curves: Curves
    resumed: int
    comparison: Comparison
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
    def summary(self) -> str:
        """The text that is printed at the end."""
        return (
            f"\n{self.right} of {TEST_SIZE} held-out images right: {self.accuracy:.2%}.\n"
            f"{self.interfaces}\n"
            f"{self.seconds:.0f} seconds."
        )
