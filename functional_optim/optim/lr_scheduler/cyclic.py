"""torch's CyclicLR."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...core.numerics.validation import Interval, as_number
from ...core.protocol import PyTree
from ...core.rules.schedule import check_choice
from ...schedules.cyclic import MODES, Swing, amplitude, part_of, swing
from ...schedules.phases import interpolate
from ..optimizer import Optimizer
from .base import LRScheduler
from .common import (
    Rate,
    as_float64,
    check_epochs,
    check_optimizer,
    per_group,
    set_momentum,
    uses_betas,
)
from .functions import load_attributes, saved_attributes

__all__ = ["CyclicLR"]


class CyclicLR(LRScheduler):
    """Cycles the learning rate between two bounds, and the momentum in the opposite direction.

    One cycle takes `step_size_up + step_size_down` epochs: calls of `step`, which most programs
    make after each batch. The momentum is `momentum`, or the first of `betas`. As a schedule:
    `cyclic_schedule(base_lr, max_lr, step_size_up, step_size_down, mode, gamma)`; for the
    momentum, the same from `max_momentum` to `base_momentum`. A group that is added later has the
    bounds of the last group.

    Differences: after another scheduler, torch starts from the initial rate of that scheduler, and
    reaches `base_lr` only in the next cycle.

    Args:
      base_lr: lower bound, one for all groups or a list.
      max_lr: upper bound of the first cycle, one for all groups or a list.
      step_size_up: number of epochs in which the rate rises.
      step_size_down: number of epochs in which the rate falls; None for step_size_up.
      mode: `"triangular"`, `"triangular2"` or `"exp_range"`; see `cyclic_schedule`.
      gamma: factor of the amplitude from one epoch to the next, for `"exp_range"`.
      scale_fn: function that gives the factor of the amplitude, in place of a mode.
      scale_mode: the argument of scale_fn: `"cycle"`, the number of the cycle, from 1, or
        `"iterations"`, the epoch, from 0.
      cycle_momentum: whether the momentum cycles as well.
      base_momentum: momentum where the rate is highest, one for all groups or a list.
      max_momentum: momentum where the rate is lowest, one for all groups or a list.
      See `LRScheduler` for the others.

    Raises:
      ValueError: the length of a list is not the number of groups, step_size_up < 1 or
        step_size_down < 0, the mode or scale_mode is unknown, or cycle_momentum is True and the
        optimizer has no momentum.

    Reference: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017,
    arXiv:1506.01186.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer("CyclicLR", optimizer)
        self._initial_bounds = per_group("CyclicLR: base_lr", optimizer, base_lr)
        self.max_lrs = per_group("CyclicLR: max_lr", optimizer, max_lr)
        down = step_size_up if step_size_down is None else step_size_down
        check_epochs("CyclicLR: step_size_up", step_size_up, least=1)
        check_epochs("CyclicLR: step_size_down", down)
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        if scale_fn is None:
            check_choice(mode, "CyclicLR: mode", MODES)
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        check_choice(scale_mode, "CyclicLR: scale_mode", ("cycle", "iterations"))
        self.mode = mode
        as_number(gamma, "CyclicLR: gamma", Interval("[0, inf)"))
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = uses_betas("CyclicLR", optimizer)
            self.base_momentums = per_group("CyclicLR: base_momentum", optimizer, base_momentum)
            self.max_momentums = per_group("CyclicLR: max_momentum", optimizer, max_momentum)
        if last_epoch == -1:
            self._write_bounds(optimizer)
        super().__init__(optimizer, last_epoch)

    def _write_bounds(self, optimizer: Optimizer) -> None:
        """Writes the bounds into the groups, as torch does."""
        for i, group in enumerate(optimizer.param_groups):
            group.setdefault("initial_lr", self._initial_bounds[i])
            if self.cycle_momentum:
                group["max_momentum"] = self.max_momentums[i]
                group["base_momentum"] = self.base_momentums[i]

    def _find_base_lrs(self) -> list[Rate]:
        return self.__dict__.pop("_initial_bounds")

    def _add_new_groups(self) -> None:
        names = ["base_lrs", "max_lrs"]
        names += ["base_momentums", "max_momentums"] * self.cycle_momentum
        for values in (getattr(self, name) for name in names):
            values += values[-1:] * (len(self.optimizer.param_groups) - len(values))
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group.setdefault("initial_lr", lr)

    def get_lr(self) -> list[float]:
        """Returns rates between `base_lrs` and `max_lrs`."""
        self._check_within_step()
        return self._between(self.base_lrs, self.max_lrs)

    def _set_momenta(self) -> None:
        if self.cycle_momentum and self.last_epoch >= 0:
            momenta = self._between(self.max_momentums, self.base_momentums)
            for group, momentum in zip(self.optimizer.param_groups, momenta, strict=False):
                set_momentum(group, self.use_beta1, momentum)

    def _between(self, starts: Sequence[Rate], ends: Sequence[Rate]) -> list[float]:
        """Returns the value of each group at the present epoch, from `starts` to `ends`."""
        up = self.step_ratio * self.total_size
        position = swing(*as_float64(self.last_epoch, up, self.total_size - up))
        (share,) = as_float64(self._amplitude(position))
        progress = part_of(position.progress, share)
        pairs = zip(as_float64(*starts), as_float64(*ends), strict=True)
        return [float(interpolate(start, end, progress)) for start, end in pairs]

    def _amplitude(self, position: Swing) -> float:
        """Computes the amplitude of the present cycle, relative to the first cycle."""
        if self._scale_fn_custom is None:
            return float(
                amplitude(self.mode, *as_float64(self.last_epoch, position.cycle, self.gamma))
            )
        cycle = int(position.cycle) + 1  # torch counts from 1
        return self._scale_fn_custom(cycle if self.scale_mode == "cycle" else self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the base class, and the attributes of a `scale_fn` object."""
        return {**super().state_dict(), "_scale_fn_custom": saved_attributes(self._scale_fn_custom)}

    def _load(self, state: Mapping[str, PyTree]) -> None:
        load_attributes(self._scale_fn_custom, state.get("_scale_fn_custom"))
        super()._load({k: v for k, v in state.items() if k != "_scale_fn_custom"})
