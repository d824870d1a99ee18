"""The configuration of a run."""

import dataclasses

import functional_optim as fo

from .data import TRAIN_SIZE
from .rules import make_optimizer, make_schedule

__all__ = ["Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """The configuration of a run, which determines its parameters bit for bit.

    Attributes:
      rule: name of an optimizer of the package.
      epochs: passes over the training images.
      seed: seed of the split, the initial parameters, and the batches.
      batch_size: number of images in a step.
    """

    rule: str = "adamw"
    epochs: int = 40
    seed: int = 0
    batch_size: int = 64

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches in an epoch; each epoch leaves out other images."""
        return TRAIN_SIZE // self.batch_size

    @property
    def steps(self) -> int:
        """Number of updates in the whole training."""
        return self.epochs * self.steps_per_epoch

    def optimizer(self) -> fo.GradientTransformation:
        """Returns the optimizer, with the schedule of its learning rate."""
        return make_optimizer(self.rule, make_schedule(self.rule, self.steps))
