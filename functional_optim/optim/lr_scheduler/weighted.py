"""Schedulers with a closed form, each step of which changes the present learning rate."""

from typing import Any, ClassVar

import numpy as np

from .base import LRScheduler
from .common import Rate

__all__ = ["WeightedLR"]


class WeightedLR(LRScheduler):
    """A scheduler whose learning rate is a weighted mean of the initial one and a floor.

        lr = floor + (initial_lr - floor) weight(epoch)

    A step multiplies the present distance to the floor by weight(epoch) / weight(epoch - 1), so
    that edits of the learning rate last, and schedulers of one optimizer compose. If the weight
    before was 0, the step adds weight(epoch) times the initial distance instead.
    """

    floor: ClassVar[Any] = 0.0

    def weight(self, epoch: int) -> float:
        """Returns the weight of the initial learning rate at an epoch."""
        raise NotImplementedError

    def _weight(self, epoch: int) -> float:
        # A power that exceeds float64 is infinite, which needs no warning.
        with np.errstate(over="ignore", invalid="ignore"):
            return self.weight(epoch)

    def get_lr(self) -> list[Rate]:
        """Returns the learning rates at `last_epoch`, from the present ones."""
        self._check_within_step()
        if self._is_initial and self.last_epoch > 0:
            return self._get_closed_form_lr()
        weight = self._weight(self.last_epoch)
        before = self._weight(self.last_epoch - 1) if self.last_epoch > 0 else 1.0
        lrs = self._rates()
        if weight == before:
            return lrs
        if before:
            return [self.floor + (lr - self.floor) * (weight / before) for lr in lrs]
        # A new group is not at the floor, where the others are.
        lrs[len(self._last_lr) :] = [self.floor] * (len(lrs) - len(self._last_lr))
        gains = [(lr - self.floor) * weight for lr in self.base_lrs]
        return [lr + gain for lr, gain in zip(lrs, gains, strict=True)]

    def _get_closed_form_lr(self) -> list[Rate]:
        weight = self._weight(self.last_epoch)
        return [self.floor + (lr - self.floor) * weight for lr in self.base_lrs]
