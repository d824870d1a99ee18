"""Schedulers that combine other schedulers, one after another or all at once."""

import bisect
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.protocol import PyTree
from ..optimizer import Optimizer
from .base import LRScheduler
from .common import check_epochs, set_rate
from .plateau import ReduceLROnPlateau

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Composite(LRScheduler):
    """A scheduler whose parts set the learning rates."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
        _check_parts(type(self).__name__, optimizer, schedulers)
        self.optimizer = optimizer
        self._schedulers = list(schedulers)

    @abstractmethod
    def _initial_step(self) -> None:
        """Makes the first step, from the present learning rates of the groups."""

    def _undo(self) -> None:
        for scheduler in self._schedulers:
            scheduler._undo()

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.step()
            return
        # The parts have no common closed form, so all steps are repeated from the initial rates.
        self._undo()
        for group in self.optimizer.param_groups:
            set_rate(group, self._key, group["initial_lr"])
        self._initial_step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimizer has not made a step
            for _ in range(epoch):
                self.step()

    def _set_momenta(self) -> None:
        for scheduler in self._schedulers:
            scheduler._set_momenta()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the base class, and the state of each scheduler."""
        states = [scheduler.state_dict() for scheduler in self._schedulers]
        return {**super().state_dict(), "_schedulers": states}

    def _matching_entries(self, state_dict: Mapping[str, PyTree]) -> dict[str, PyTree]:
        entries = super()._matching_entries(state_dict)
        saved = state_dict.get("_schedulers", ())
        if len(saved) != len(self._schedulers):
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: the state has {len(saved)} schedulers, "
                f"and this scheduler has {len(self._schedulers)}."
            )
        parts = [
            s._matching_entries(state) for s, state in zip(self._schedulers, saved, strict=True)
        ]
        return {**entries, "_schedulers": parts}

    def _load(self, state: Mapping[str, PyTree]) -> None:
        for scheduler, saved in zip(self._schedulers, state["_schedulers"], strict=True):
            scheduler._load(saved)
        super()._load({k: v for k, v in state.items() if k != "_schedulers"})


def _check_parts(name: str, optimizer: Optimizer, schedulers: Sequence[object]) -> None:
    if len(schedulers) < 1:
        raise ValueError(f"{name} expects at least one scheduler, but got no scheduler.")
    for i, scheduler in enumerate(schedulers):
        if not hasattr(scheduler, "optimizer"):
            raise TypeError(
                f"{name}: the scheduler at index {i} should have `optimizer` as its attribute, got "
                f"{type(scheduler).__name__}."
            )
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                f"{name} does not support `ReduceLROnPlateau`, whose step needs a metric, but got "
                f"one at index {i}. Call it by itself, after the others."
            )
        if scheduler.optimizer is not optimizer:
            raise ValueError(
                f"{name} expects all schedulers to belong to the same optimizer, but the one at "
                f"index {i} belongs to another {type(scheduler.optimizer).__name__}."
            )


class SequentialLR(_Composite):
    """Runs several schedulers one after another; each starts at its epoch 0 at its milestone.

    The constructor gives the groups their initial learning rates, and starts the first scheduler.
    At a milestone the next scheduler starts from the initial rates if it has a closed form, and
    from the present rates otherwise. As a schedule: `join_schedules`.

    Differences: a SequentialLR in another one, or in a ChainedScheduler, starts at its epoch 0; in
    torch it starts at epoch 1, or not at all. With `last_epoch`, the sequence continues with the
    scheduler of that epoch.

    Args:
      schedulers: schedulers of one optimizer, in the order of their turns.
      milestones: epochs at which the next scheduler starts, one for each scheduler but the first.
      See `LRScheduler` for the others.

    Raises:
      ValueError: `schedulers` is empty, or has a ReduceLROnPlateau or a scheduler of another
        optimizer; a milestone is negative or not finite, or less than the one before it; or the
        number of milestones is not the number of schedulers minus 1.
      TypeError: an element of `schedulers` is not a scheduler.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        super().__init__(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "SequentialLR expects number of schedulers provided to be one more than the number "
                f"of milestones, but got {len(schedulers)} schedulers and {len(milestones)} "
                "milestones."
            )
        for milestone in milestones:
            check_epochs("SequentialLR: a milestone", milestone)
        if list(milestones) != sorted(milestones):
            raise ValueError(f"SequentialLR: milestones must not decrease, got {milestones!r}.")
        self._milestones = list(milestones)
        self.last_epoch = last_epoch
        rates_before = self._rates()
        self._update_lr(last_epoch + 1)
        self._record_change(rates_before)

    def _undo(self) -> None:
        self.last_epoch = -1
        super()._undo()

    def _initial_step(self) -> None:
        self._undo()
        self.last_epoch = 0
        active, _ = self._active()
        active._initial_step()
        self._last_lr = active.get_last_lr()

    def _active(self) -> tuple[LRScheduler, bool]:
        """Returns the scheduler of this epoch, and whether it begins at this epoch."""
        i = bisect.bisect_right(self._milestones, self.last_epoch)
        return self._schedulers[i], i > 0 and self._milestones[i - 1] == self.last_epoch

    def step(self) -> None:  # type: ignore[override]
        """Moves to the next epoch, and sets the learning rates."""
        self.last_epoch += 1
        active, begins = self._active()
        if begins:
            active._update_lr(0)  # its own epoch 0
        else:
            active.step()
        self._last_lr = active.get_last_lr()


class ChainedScheduler(_Composite):
    """Steps several schedulers at each epoch, in order.

    The factors of schedulers that change the present learning rate (StepLR, ExponentialLR,
    LinearLR, ...) multiply; a scheduler that computes the rate from the initial one (LambdaLR,
    CyclicLR, ...) discards the effect of the schedulers before it.

    Args:
      schedulers: schedulers of one optimizer, in the order in which they step.
      optimizer: the optimizer of the schedulers; None for that of the first scheduler.

    Raises:
      ValueError: `schedulers` is empty, or has a ReduceLROnPlateau or a scheduler of another
        optimizer.
      TypeError: an element of `schedulers` is not a scheduler.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if optimizer is None and schedulers:
            optimizer = getattr(schedulers[0], "optimizer", None)
        super().__init__(optimizer, schedulers)  # type: ignore[arg-type]
        self._last_lr = self._rates()

    def _initial_step(self) -> None:
        self._undo()
        for scheduler in self._schedulers:
            scheduler._initial_step()
        self._last_lr = self._rates()

    def step(self) -> None:  # type: ignore[override]
        """Steps each of the schedulers."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._rates()
