"""What decides a run."""

import dataclasses

import functional_optim as fo

from .data import TRAIN_SIZE
from .rules import RULES, make_optimizer

__all__ = ["Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Decides a run: the same configuration gives the same parameters, bit for bit.

    Attributes:
      rule: name in `RULES`.
      epochs: passes over the training images.
      seed: of the split, the first parameters, and the batches.
      batch_size: images in a step.
    """

    rule: str = "adamw"
    epochs: int = 40
    seed: int = 0
    batch_size: int = 64

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the images left over are others in each epoch."""
        return TRAIN_SIZE // self.batch_size

    @property
    def steps(self) -> int:
        """Updates in the whole training."""
        return self.epochs * self.steps_per_epoch

    def optimizer(self) -> fo.GradientTransformation:
        """Returns the rule with warmup for a tenth of the steps, and half a cosine after it."""
        peak = RULES[self.rule].peak
        schedule = fo.warmup_cosine_decay_schedule(0.0, peak, self.steps // 10, self.steps)
        return make_optimizer(self.rule, schedule)
