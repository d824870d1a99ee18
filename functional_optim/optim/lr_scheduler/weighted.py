"""Schedulers that are a closed form, and go along it from wherever the learning rate is."""

from typing import Any, ClassVar

import numpy as np

from .base import LRScheduler

__all__ = ["WeightedLR", "host"]


class WeightedLR(LRScheduler):
    """A scheduler whose learning rate is a weighted mean of the initial one and another.

        lr = floor + (initial_lr - floor) weight(epoch)

    A step multiplies the distance to the floor by the weight over that of the epoch before. So
    an edit of the learning rate lasts, and schedulers of one optimizer compose. Where the
    weight before was 0, nothing is left to multiply: what the weight gains of the initial
    distance is added.
    """

    floor: ClassVar[Any] = 0.0

    def weight(self, epoch: int) -> float:
        """The weight of the initial learning rate at an epoch."""
        raise NotImplementedError

    def _weight(self, epoch: int) -> float:
        # Where a power exceeds float64, infinity is its value, and no cause for a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            return self.weight(epoch)

    def get_lr(self) -> list[Any]:
        """The learning rates at `last_epoch`, from those that the groups have."""
        self._check_within_step()
        if self._is_initial and self.last_epoch > 0:
            return self._get_closed_form_lr()
        now = self._weight(self.last_epoch)
        before = self._weight(self.last_epoch - 1) if self.last_epoch > 0 else 1.0
        lrs = self._rates()
        if now == before:
            return lrs
        if before:
            return [self.floor + (lr - self.floor) * (now / before) for lr in lrs]
        # A group that is new has not come to the floor with the others.
        lrs[len(self._last_lr) :] = [self.floor] * (len(lrs) - len(self._last_lr))
        gains = [(lr - self.floor) * now for lr in self.base_lrs]
        return [lr + gain for lr, gain in zip(lrs, gains, strict=True)]

    def _get_closed_form_lr(self) -> list[Any]:
        weight = self._weight(self.last_epoch)
        return [self.floor + (lr - self.floor) * weight for lr in self.base_lrs]


def host(*numbers: Any) -> tuple[Any, ...]:
    """Numbers as the maths of a schedule takes them, off the device."""
    return tuple(np.float64(x) for x in numbers)
