"""Schedulers made of schedulers: one after another, or all at once."""

import bisect
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler
from .plateau import ReduceLROnPlateau
from .rates import put_rate

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Composite(LRScheduler):
    """A scheduler that leaves the learning rates to others."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]):
        _check_parts(type(self).__name__, optimizer, schedulers)
        self.optimizer = optimizer
        self._schedulers = list(schedulers)

    @abstractmethod
    def _initial_step(self) -> None:
        """Makes the step into the first epoch, from the rates that the groups have."""

    def _undo(self) -> None:
        for scheduler in self._schedulers:
            scheduler._undo()

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.step()
            return
        # What the parts make of the initial rates together is known only by going there.
        self._undo()
        for group in self.optimizer.param_groups:
            put_rate(group, self._key, group["initial_lr"])
        self._initial_step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimizer has made its steps long ago
            for _ in range(epoch):
                self.step()

    def _set_momenta(self) -> None:
        for scheduler in self._schedulers:
            scheduler._set_momenta()

    def state_dict(self) -> dict[str, Any]:
        """As the base, with the state of each scheduler."""
        states = [scheduler.state_dict() for scheduler in self._schedulers]
        return {**super().state_dict(), "_schedulers": states}

    def _known(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        known = super()._known(state_dict)
        saved = state_dict.get("_schedulers", ())
        if len(saved) != len(self._schedulers):
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: the state is of {len(saved)} schedulers, "
                f"and there are {len(self._schedulers)}."
            )
        parts = [s._known(state) for s, state in zip(self._schedulers, saved, strict=True)]
        return {**known, "_schedulers": parts}

    def _load(self, state: Mapping[str, Any]) -> None:
        for scheduler, saved in zip(self._schedulers, state["_schedulers"], strict=True):
            scheduler._load(saved)
        super()._load({k: v for k, v in state.items() if k != "_schedulers"})


def _check_parts(name: str, optimizer: Optimizer, schedulers: Sequence[Any]) -> None:
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
    """Follows several schedulers in turn, each from its own epoch 0 at its milestone.

    Constructing one gives the groups their initial learning rates, and starts the scheduler of
    epoch 0. At a milestone the next one starts from the initial rates, where it has a closed
    form, and from the present ones otherwise. As a schedule: `join_schedules`.

    Differences: a sequence within a sequence, or within a chain, starts at its epoch 0; in torch
    at 1, or not at all. `last_epoch` goes to where a sequence would be.

    Args:
      milestones: epochs at which the scheduler changes, one fewer than there are schedulers.

    Raises:
      ValueError: no schedulers, one of another optimizer or a ReduceLROnPlateau, or milestones
        that are not one fewer or decrease.
      TypeError: one is no scheduler.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ):
        super().__init__(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "SequentialLR expects number of schedulers provided to be one more than the number "
                f"of milestones, but got {len(schedulers)} schedulers and {len(milestones)} "
                "milestones."
            )
        if list(milestones) != sorted(milestones):
            raise ValueError(f"SequentialLR: milestones must not decrease, got {milestones!r}.")
        self._milestones = list(milestones)
        self.last_epoch = last_epoch
        before = self._rates()
        self._update_lr(last_epoch + 1)
        self._note_change(before)

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
        """The scheduler of this epoch, and whether it begins with it."""
        i = bisect.bisect_right(self._milestones, self.last_epoch)
        return self._schedulers[i], i > 0 and self._milestones[i - 1] == self.last_epoch

    def step(self) -> None:  # type: ignore[override]
        """Moves to the next epoch, and sets the learning rates."""
        self.last_epoch += 1
        active, begins = self._active()
        if begins:
            active._update_lr(0)
        else:
            active.step()
        self._last_lr = active.get_last_lr()


class ChainedScheduler(_Composite):
    """Steps several schedulers together, in order.

    Those that go on from the present learning rate (StepLR, ExponentialLR, LinearLR, ...)
    multiply; one that sets it from the initial one (LambdaLR, CyclicLR, ...) discards what
    those before it did.

    Args:
      optimizer: that of the schedulers, where it is not None.

    Raises:
      ValueError: no schedulers, one of another optimizer, or a ReduceLROnPlateau.
      TypeError: one is no scheduler.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None):
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
