"""What all schedulers have: the groups' learning rates, and an epoch."""

import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..optimizer import Optimizer
from .rates import check_optimizer, put_rate, rate_key, rates_of

__all__ = ["LRScheduler"]


class LRScheduler:
    """Base of the schedulers: sets the learning rate of every group at each `step`.

    A subclass gives `get_lr`, as in torch: a list with the new learning rate of each group;
    and, where it has one, `_get_closed_form_lr`, the same from `base_lrs` alone.

    Constructing a scheduler makes its first step, as in torch. A group that is added later
    starts with the learning rate that it has then. The option is `lr`, or `learning_rate` of
    an `Optimizer` over a transformation.

    Args:
      optimizer: a stateful optimizer.
      last_epoch: number of the last epoch of a run that is continued; -1 starts anew. The
        learning rates are then those of the next epoch, computed from the initial ones where
        they can be. For several schedulers of one optimizer, use `load_state_dict`.

    Attributes:
      base_lrs: the initial learning rates of the groups; may be edited.
      last_epoch: number of the present epoch.

    Raises:
      TypeError: optimizer is not one of this package, or a learning rate is a schedule.
      KeyError: a group has no learning rate; or last_epoch is not -1, and a group has no
        `initial_lr`.
    """

    # Schedulers written for torch read these two in get_lr.
    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        name = type(self).__name__
        check_optimizer(name, optimizer)
        self.optimizer = optimizer
        key = rate_key(name, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group[key])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    f"{name} with last_epoch={last_epoch}. Load the optimizer's "
                    "state_dict first, or set it."
                )
        self.base_lrs = self._find_base_lrs()
        self.last_epoch = last_epoch
        self._last_lr: list[Any] = []
        before = self._rates()
        self._initial_step()
        self._note_change(before)

    def _find_base_lrs(self) -> list[Any]:
        return [group["initial_lr"] for group in self.optimizer.param_groups]

    def _initial_step(self) -> None:
        """Makes the step into the first epoch, which the constructor makes."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            del self._is_initial

    def _undo(self) -> None:
        """Goes back before the first epoch; the learning rates stay."""
        self.last_epoch = -1

    def get_lr(self) -> list[Any]:
        """The learning rates of the groups at `last_epoch`, from those of the epoch before."""
        raise NotImplementedError(
            f"{type(self).__name__}: a scheduler must define get_lr(self), which returns the "
            "learning rates of all groups."
        )

    def get_last_lr(self) -> list[Any]:
        """The learning rates that the last step set."""
        return list(self._last_lr)

    def step(self, epoch: int | None = None) -> None:
        """Moves to the next epoch, or to a given one, and sets the learning rates.

        Args:
          epoch: compute the learning rates from the initial ones, at this epoch.
        """
        self._warn_of_order()
        self._step_count += 1
        self._update_lr(epoch)

    def _warn_of_order(self) -> None:
        if self._step_count == 1 and self.optimizer.step_count == 0:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first "
                "value of the schedule is skipped. Call optimizer.step() first.",
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        """Sets the learning rates of the next epoch, or of a given one from the initial ones."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._admit()
        closed = getattr(self, "_get_closed_form_lr", None)
        self._get_lr_called_within_step = True
        try:
            rates = self.get_lr() if epoch is None or closed is None else closed()
        finally:
            del self._get_lr_called_within_step
        self._set_rates(rates)
        self._set_momenta()
        self._last_lr = self._rates()

    def _admit(self) -> None:
        """Notes the initial learning rates of groups that are new."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", group[self._key]))

    def _check_within_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`: get_lr() is the step from one epoch to the next.",
                UserWarning,
                stacklevel=3,
            )

    @property
    def _key(self) -> str:
        return rate_key(type(self).__name__, self.optimizer)

    def _rates(self) -> list[Any]:
        return rates_of(type(self).__name__, self.optimizer)

    def _set_rates(self, rates: Sequence[Any]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            put_rate(group, self._key, rate)

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer, as plain data, under torch's names."""
        own = {k: v for k, v in self.__dict__.items() if k != "optimizer"}
        return {k: list(v) if isinstance(v, list) else v for k, v in own.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave, here or in torch; in either order with the optimizer.

        Raises:
          ValueError: it has entries of another scheduler; nothing is loaded then.
        """
        state = self._known(state_dict)
        as_constructed = _equal(_PUT.get(self.optimizer), self._rates())
        self._load(state)
        if as_constructed:
            self._set_rates([*self._last_lr, *self._rates()[len(self._last_lr) :]])
            self._set_momenta()
            _PUT[self.optimizer] = self._rates()

    def _known(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The entries that this scheduler has, too."""
        own = self.state_dict().keys()
        unknown = [k for k in state_dict if k not in own and not _is_of_torch(k)]
        if unknown:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: there is no {unknown[0]!r} in this "
                f"scheduler. It has: {', '.join(sorted(own))}."
            )
        return {k: v for k, v in state_dict.items() if k in own}

    def _load(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update({k: list(v) if isinstance(v, list) else v for k, v in state.items()})

    def _note_change(self, before: list[Any]) -> None:
        """Notes rates that the constructor has put in the place of others."""
        if not _equal(before, self._rates()):
            _PUT[self.optimizer] = self._rates()

    def _set_momenta(self) -> None:
        """Sets what else of the groups is a function of `last_epoch`."""


_PUT: weakref.WeakKeyDictionary[Optimizer, list[Any]] = weakref.WeakKeyDictionary()
"""The rates that constructors, and loads after them, have put in the place of an optimizer's.

They must not outlast a load. Where the optimizer's state was loaded before, a constructor has
overwritten the rates; where it is loaded after, it brings its own.
"""


def _equal(a: list[Any] | None, b: list[Any]) -> bool:
    return (
        a is not None
        and len(a) == len(b)
        and all(bool(np.all(x == y)) for x, y in zip(a, b, strict=True))
    )


def _is_of_torch(key: str) -> bool:
    """Whether torch alone has an entry: a private one, or one of its older versions."""
    return key.startswith("_") or key == "verbose"
