"""torch's OneCycleLR."""

import warnings
from collections.abc import Sequence
from typing import Any

from ...core.rules.schedule import check_choice
from ...schedules.onecycle import boundaries
from ...schedules.phases import SHAPES, interpolate_through
from ..optimizer import Optimizer
from ..params.param_group import ParamGroup
from .base import LRScheduler
from .common import Rate, as_float64, check_optimizer, per_group, set_momentum, uses_betas

__all__ = ["OneCycleLR"]


class OneCycleLR(LRScheduler):
    """Raises the learning rate to a peak, and then lowers it far below its start.

    One epoch is an iteration in most uses. The momentum, which is `momentum` or the first of
    `betas`, falls to `base_momentum` while the rate rises, and then rises again. As a schedule:
    `onecycle_schedule(total_steps, max_lr, pct_start, ...)`. A group that is added later has
    the bounds of the last one, or those under `max_lr`, `min_lr`, `initial_lr`, `max_momentum`
    and `base_momentum` in its dict.

    Differences: past `total_steps` the last values stay, with a warning; torch extrapolates at
    epoch `total_steps`, and then raises. With `pct_start=1.0` the rate is at its end in the last
    epoch; in torch it is not, and the next epoch divides by zero.

    Args:
      max_lr: the peak, one for all groups or a list.
      total_steps: number of steps; or pass epochs and steps_per_epoch, whose product it is.
      epochs, steps_per_epoch: two numbers whose product is total_steps.
      three_phase: return to the start in as many iterations as the rise took, then fall.
      See `LRScheduler`, `CyclicLR`, `onecycle_schedule` and `cosine_onecycle_schedule` for the
      others.

    Raises:
      ValueError: total_steps is missing or not a positive integer, pct_start is outside [0, 1],
        the strategy is unknown, the length of a list is not the number of groups, or
        cycle_momentum is True and the optimizer has no momentum.

    Reference: Smith & Topin, Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates, SPIE 2019, arXiv:1708.07120.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer("OneCycleLR", optimizer)
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start must be in [0, 1], got {pct_start!r}.")
        check_choice(anneal_strategy, "OneCycleLR: anneal_strategy", ("cos", "linear"))
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        self.cycle_momentum = cycle_momentum
        bounds = {"max_lr": max_lr}
        if cycle_momentum:
            self.use_beta1 = uses_betas("OneCycleLR", optimizer)
            bounds |= {"max_momentum": max_momentum, "base_momentum": base_momentum}
        lists = {k: per_group(f"OneCycleLR: {k}", optimizer, v) for k, v in bounds.items()}
        if last_epoch == -1:
            for i, group in enumerate(optimizer.param_groups):
                low = lists["max_lr"][i] / div_factor
                bounds_of_group = {k: values[i] for k, values in lists.items()}
                group.update(bounds_of_group, initial_lr=low, min_lr=low / final_div_factor)
        super().__init__(optimizer, last_epoch)

    def _add_new_groups(self) -> None:
        known = len(self.base_lrs)
        last = self.optimizer.param_groups[known - 1]
        for group in self.optimizer.param_groups[known:]:
            peak = group.setdefault("max_lr", last["max_lr"])
            for k in ("initial_lr", "min_lr"):
                group.setdefault(k, last[k] / last["max_lr"] * peak)
            for k in ("max_momentum", "base_momentum") * self.cycle_momentum:
                group.setdefault(k, last[k])
        super()._add_new_groups()

    def _update_lr(self, epoch: int | None = None) -> None:
        epoch_before = self.last_epoch
        super()._update_lr(epoch)
        if self.last_epoch > self.total_steps >= epoch_before:
            warnings.warn(
                f"OneCycleLR: the cycle has {self.total_steps} steps, and this is step "
                f"{self.last_epoch}; the last learning rate stays. Pass a larger total_steps.",
                UserWarning,
                stacklevel=3,
            )

    def get_lr(self) -> list[Rate]:
        """Returns rates from `initial_lr` of a group through `max_lr` to `min_lr`."""
        self._check_within_step()
        return [self._value(group, "lr") for group in self.optimizer.param_groups]

    def _set_momenta(self) -> None:
        if self.cycle_momentum and self.last_epoch >= 0:
            for group in self.optimizer.param_groups:
                set_momentum(group, self.use_beta1, self._value(group, "momentum"))

    def _value(self, group: ParamGroup, quantity: str) -> float:
        """Returns a group's learning rate ("lr") or momentum ("momentum") at this epoch."""
        phases = self._schedule_phases
        names = [phases[0][f"start_{quantity}"], *(phase[f"end_{quantity}"] for phase in phases)]
        shape = SHAPES["cosine" if self._anneal_func_type == "cos" else "linear"]
        ends = as_float64(*(phase["end_step"] for phase in phases))
        (step,) = as_float64(self.last_epoch)
        return float(interpolate_through(step, ends, as_float64(*(group[k] for k in names)), shape))


def _total_steps(total: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    factors = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    numbers = factors if total is None else {"total_steps": total}
    if None in numbers.values():
        raise ValueError(
            "OneCycleLR: You must define either total_steps OR (epochs AND steps_per_epoch)."
        )
    for name, value in numbers.items():
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"OneCycleLR: {name} must be a positive integer, got {value!r}.")
    return total if total is not None else epochs * steps_per_epoch  # type: ignore[operator]


def _phases(total_steps: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    """Returns the ends and values of all phases, under torch's names."""
    lrs = ["initial_lr", "max_lr", *["initial_lr"] * three_phase, "min_lr"]
    momenta = ["max_momentum", "base_momentum", *["max_momentum"] * three_phase, "max_momentum"]
    total, share = as_float64(total_steps, pct_start)
    return [
        {
            "end_step": float(end),
            "start_lr": lrs[i],
            "end_lr": lrs[i + 1],
            "start_momentum": momenta[i],
            "end_momentum": momenta[i + 1],
        }
        for i, end in enumerate(boundaries(total, share, three_phase))
    ]
