"""Schedulers that multiply the learning rate."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ...core.protocol import PyTree
from ...schedules.decay import exponential_decay, linear_schedule, polynomial_schedule
from ...schedules.piecewise import jumps
from ..optimizer import Optimizer
from .common import as_float64, check_epochs, check_fraction
from .weighted import WeightedLR

__all__ = ["ConstantLR", "ExponentialLR", "LinearLR", "MultiStepLR", "PolynomialLR", "StepLR"]


class StepLR(WeightedLR):
    """Multiplies the learning rate by `gamma` every `step_size` epochs.

    As a schedule: `exponential_decay(lr, step_size, gamma, staircase=True)`.

    Args:
      step_size: number of epochs from one multiplication to the next.
      gamma: the factor.
      See `LRScheduler` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.SGD({"w": jnp.ones(1)}, lr=1.0)
      >>> scheduler = optim.lr_scheduler.StepLR(opt, step_size=2, gamma=0.5)
      >>> for _ in range(4):
      ...     opt.step({"w": jnp.ones(1)})
      ...     scheduler.step()
      >>> scheduler.get_last_lr()
      [0.25]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check_epochs("StepLR: step_size", step_size, least=1)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def weight(self, epoch: int) -> float:
        """Returns `gamma^(epoch // step_size)`."""
        step, one, steps, gamma = as_float64(epoch, 1.0, self.step_size, self.gamma)
        return float(exponential_decay.maths(step, one, steps, gamma, 0, staircase=True))


class ExponentialLR(WeightedLR):
    """Multiplies the learning rate by `gamma` every epoch.

    As a schedule: `exponential_decay(lr, 1, gamma)`.

    Args:
      gamma: the factor.
      See `LRScheduler` for the others.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def weight(self, epoch: int) -> float:
        """Returns `gamma^epoch`."""
        return float(exponential_decay.maths(*as_float64(epoch, 1.0, 1, self.gamma, 0)))


class MultiStepLR(WeightedLR):
    """Multiplies the learning rate by `gamma` at each of the milestones.

    A milestone that occurs twice counts twice; the milestone 0 counts from the start. As a
    schedule: `piecewise_constant_schedule(lr, {milestone: gamma, ...})`.

    Args:
      milestones: the epochs at which the rate is multiplied.
      gamma: the factor.
      See `LRScheduler` for the others.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def weight(self, epoch: int) -> float:
        """Returns `gamma` to the power of the number of milestones reached."""
        scales = as_float64(*(self.gamma**n for n in self.milestones.values()))
        step, one = as_float64(epoch, 1.0)
        return float(jumps(step, one, as_float64(*self.milestones), scales))

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the base class, with a copy of the milestones."""
        return {**super().state_dict(), "milestones": self.milestones.copy()}

    def _load(self, state: Mapping[str, PyTree]) -> None:
        super()._load(state)
        # JSON turns the keys, which are numbers, into texts.
        self.milestones = Counter({int(k): n for k, n in self.milestones.items()})


class ConstantLR(WeightedLR):
    """Multiplies the learning rate by `factor`, until epoch `total_iters`.

    As a schedule: `piecewise_constant_schedule(factor * lr, {total_iters: 1 / factor})`.

    Args:
      factor: the factor until total_iters, in [0, 1].
      total_iters: the epoch from which the rate is not multiplied.
      See `LRScheduler` for the others.

    Differences: with `total_iters=0` nothing is multiplied; torch then keeps the factor. A
    `factor` of 0 ends at `total_iters` like any other; torch raises at that epoch.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_fraction("ConstantLR: factor", factor)
        check_epochs("ConstantLR: total_iters", total_iters)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def weight(self, epoch: int) -> float:
        """Returns `factor` before `total_iters`, then 1: a linear schedule of length 0."""
        return float(
            linear_schedule.maths(*as_float64(epoch, self.factor, 1.0, 0, self.total_iters))
        )


class LinearLR(WeightedLR):
    """Multiplies the learning rate by a factor that changes linearly.

    As a schedule: `linear_schedule(start_factor * lr, end_factor * lr, total_iters)`.

    Args:
      start_factor: the factor at epoch 0, in (0, 1].
      end_factor: the factor from total_iters on, in [0, 1].
      total_iters: number of epochs from one factor to the other.
      See `LRScheduler` for the others.

    Differences: with `total_iters=0` the factor is `end_factor`; torch then keeps
    `start_factor`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_fraction("LinearLR: start_factor", start_factor, positive=True)
        check_fraction("LinearLR: end_factor", end_factor)
        check_epochs("LinearLR: total_iters", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def weight(self, epoch: int) -> float:
        """Returns a value from `start_factor` at epoch 0 to `end_factor` at `total_iters`."""
        numbers = as_float64(epoch, self.start_factor, self.end_factor, self.total_iters, 0)
        return float(linear_schedule.maths(*numbers))


class PolynomialLR(WeightedLR):
    """Lowers the learning rate to 0 at epoch `total_iters`, along a polynomial.

    As a schedule: `polynomial_schedule(lr, 0.0, power, total_iters)`.

    Args:
      total_iters: number of epochs to the rate 0.
      power: power of the remaining share; 1 for a straight line.
      See `LRScheduler` for the others.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        check_epochs("PolynomialLR: total_iters", total_iters, least=1)
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def weight(self, epoch: int) -> float:
        """Returns `(1 - epoch / total_iters)^power`."""
        numbers = as_float64(epoch, 1.0, 0.0, self.power, self.total_iters, 0)
        return float(polynomial_schedule.maths(*numbers))
