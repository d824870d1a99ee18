"""Schedulers along a cosine."""

import math

from ...schedules.cyclic import swing
from ...schedules.phases import cosine, phase
from ...schedules.restarts import last_restart
from ..optimizer import Optimizer
from .base import LRScheduler
from .common import Rate, as_float64, check_epochs
from .weighted import WeightedLR

__all__ = ["CosineAnnealingLR", "CosineAnnealingWarmRestarts"]


class CosineAnnealingLR(WeightedLR):
    """Anneals the learning rate along a cosine to `eta_min` at epoch `T_max`.

    After T_max it rises again, with a period of 2 T_max, as in torch. As a schedule:
    `cyclic_schedule(lr, eta_min, T_max, shape="cosine")`; or `cosine_decay_schedule`, which
    stays at its last value.

    If another scheduler has brought the rate below `eta_min`, it moves further away while the
    cosine rises, as in torch: together with other schedulers, use an eta_min of 0.

    Args:
      T_max: number of epochs from the initial rate to eta_min.
      eta_min: the least rate.
      See `LRScheduler` for the others.

    Reference: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    ICLR 2017, equation 5, arXiv:1608.03983.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        check_epochs("CosineAnnealingLR: T_max", T_max, least=1)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    @property
    def floor(self) -> float:
        """The learning rate at the lowest point."""
        return self.eta_min

    def weight(self, epoch: int) -> float:
        """Returns `(1 + cos(pi epoch / T_max)) / 2`."""
        return float(cosine(swing(*as_float64(epoch, self.T_max, self.T_max)).progress).left)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Anneals the learning rate along a cosine to `eta_min`, again and again.

    The first cycle takes `T_0` epochs, and each of the others `T_mult` times as many as the
    one before. As a schedule: `cosine_restarts_schedule(lr, T_0, T_mult, eta_min)`.

    Attributes:
      T_cur: epochs since the last restart.
      T_i: epochs of the present cycle.

    Args:
      T_0: number of epochs of the first cycle.
      T_mult: length of a cycle, divided by the length of the cycle before; at least 1.
      eta_min: the least rate.
      See `LRScheduler` for the others.

    Reference: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    ICLR 2017, section 3, arXiv:1608.03983.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"CosineAnnealingWarmRestarts: {name} must be a positive integer, got "
                    f"{value!r}."
                )
        if not isinstance(eta_min, (float, int)):
            raise ValueError(
                f"CosineAnnealingWarmRestarts: eta_min must be a float or an int, got {eta_min!r}."
            )
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Moves to the next epoch, or to a given one, which may have a fraction.

        Args:
          epoch: for example `epoch + batch / batches_per_epoch`.
        """
        super().step(epoch)  # type: ignore[arg-type]

    def _update_lr(self, epoch: float | None = None) -> None:
        if epoch is None:  # keep the fraction
            epoch = self.last_epoch + 1 + self.T_cur % 1
        if epoch < 0:
            raise ValueError(
                f"CosineAnnealingWarmRestarts.step: Expected non-negative epoch, but got {epoch!r}."
            )
        begin, steps = last_restart(*as_float64(epoch, self.T_0, self.T_mult))
        self.T_cur, self.T_i = epoch - int(begin), int(steps)
        super()._update_lr(math.floor(epoch))

    def get_lr(self) -> list[Rate]:
        """Returns `eta_min + (initial_lr - eta_min) (1 + cos(pi T_cur / T_i)) / 2`."""
        self._check_within_step()
        weight = float(cosine(phase(*as_float64(self.T_cur, self.T_i))).left)
        return [self.eta_min + (lr - self.eta_min) * weight for lr in self.base_lrs]
