"""The base of the schedulers: it keeps the epoch, and sets the groups' learning rates."""

import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...core.protocol import PyTree
from ..optimizer import Optimizer
from .common import Rate, check_optimizer, get_rates, rate_key, set_rate

__all__ = ["LRScheduler"]


class LRScheduler:
    """Base of the schedulers: sets the learning rate of every group at each `step`.

    A subclass defines `get_lr`, as in torch, which returns a list with the new learning rate of
    each group; and `_get_closed_form_lr`, if the rates follow from `base_lrs` alone.

    The constructor makes the first step, as in torch. A group that is added later starts with the
    learning rate that it has then. The rate is the option `lr`, or `learning_rate` of an
    `Optimizer` over a transformation. A learning rate below 0 is an error at the optimizer's next
    step; torch makes that step, uphill.

    Args:
      optimizer: a stateful optimizer.
      last_epoch: number of the last epoch of a run to continue; -1 starts a new run. The
        learning rates are set for the next epoch, and computed from the initial ones if possible.
        For several schedulers of one optimizer, use `load_state_dict`.

    Attributes:
      base_lrs: the initial learning rates of the groups; may be edited.
      last_epoch: number of the present epoch.
      optimizer: as passed.

    Raises:
      TypeError: optimizer is not one of this package, or a learning rate is a schedule.
      KeyError: a group has no learning rate; or last_epoch is not -1, and a group has no
        `initial_lr`.
    """

    optimizer: Optimizer
    base_lrs: list[Rate]
    last_epoch: int
    _last_lr: list[Rate]
    _step_count: int

    # Schedulers written for torch read the next two attributes in get_lr.
    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
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
        self._last_lr = []
        rates_before = self._rates()
        self._initial_step()
        self._record_change(rates_before)

    def _find_base_lrs(self) -> list[Rate]:
        return [group["initial_lr"] for group in self.optimizer.param_groups]

    def _initial_step(self) -> None:
        """Makes the first step, as the constructor does."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            del self._is_initial

    def _undo(self) -> None:
        """Resets the epoch to the one before the first; the learning rates do not change."""
        self.last_epoch = -1

    def get_lr(self) -> Sequence[Rate]:
        """Returns the groups' learning rates at `last_epoch`, from those at the epoch before."""
        raise NotImplementedError(
            f"{type(self).__name__}: a scheduler must define get_lr(self), which returns the "
            "learning rates of all groups."
        )

    def get_last_lr(self) -> list[Any]:
        """Returns the learning rates that the last step set."""
        return list(self._last_lr)

    def step(self, epoch: int | None = None) -> None:
        """Moves to the next epoch, or to a given one, and sets the learning rates.

        Args:
          epoch: compute the learning rates from the initial ones, at this epoch.
        """
        self._warn_if_too_early()
        self._step_count += 1
        self._update_lr(epoch)

    def _warn_if_too_early(self) -> None:
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
        self._add_new_groups()
        closed_form = getattr(self, "_get_closed_form_lr", None)
        self._get_lr_called_within_step = True
        try:
            rates = self.get_lr() if epoch is None or closed_form is None else closed_form()
        finally:
            del self._get_lr_called_within_step
        self._set_rates(rates)
        self._set_momenta()
        self._last_lr = self._rates()

    def _add_new_groups(self) -> None:
        """Records the initial learning rates of groups that were added."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", group[self._key]))

    def _check_within_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`: get_lr() computes the rates of the next epoch.",
                UserWarning,
                stacklevel=3,
            )

    @property
    def _key(self) -> str:
        return rate_key(type(self).__name__, self.optimizer)

    def _rates(self) -> list[Rate]:
        return get_rates(type(self).__name__, self.optimizer)

    def _set_rates(self, rates: Sequence[Rate]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_rate(group, self._key, rate)

    def state_dict(self) -> dict[str, Any]:
        """Returns all attributes but the optimizer, under torch's names."""
        attributes = {k: v for k, v in self.__dict__.items() if k != "optimizer"}
        return {k: list(v) if isinstance(v, list) else v for k, v in attributes.items()}

    def load_state_dict(self, state_dict: Mapping[str, PyTree]) -> None:
        """Restores a result of `state_dict`, of this class or torch's.

        It may be called before or after the optimizer's `load_state_dict`.

        Raises:
          ValueError: state_dict has entries of another scheduler, or lacks entries of this one;
            nothing is loaded then.
        """
        state = self._matching_entries(state_dict)
        # Only rates that a constructor has set are replaced, not rates that the user set later.
        is_as_constructed = _equal(_CONSTRUCTED_RATES.get(self.optimizer), self._rates())
        self._load(state)
        if is_as_constructed:
            self._set_rates([*self._last_lr, *self._rates()[len(self._last_lr) :]])
            self._set_momenta()
            _CONSTRUCTED_RATES[self.optimizer] = self._rates()

    def _matching_entries(self, state_dict: Mapping[str, PyTree]) -> dict[str, PyTree]:
        """Returns the entries that belong to attributes; raises ValueError if some are missing."""
        names, owner = self.state_dict().keys(), f"{type(self).__name__}.load_state_dict"
        unknown = [k for k in state_dict if k not in names and not _is_only_in_torch(k)]
        if unknown:
            raise ValueError(
                f"{owner}: there is no {unknown[0]!r} in this scheduler. It has: "
                f"{', '.join(sorted(names))}."
            )
        missing = [k for k in sorted(names) if k not in state_dict and not _is_only_in_torch(k)]
        if missing:
            raise ValueError(
                f"{owner}: the state has no {missing[0]!r}, so another scheduler saved it: it has "
                f"{', '.join(sorted(state_dict))}. Load it into a scheduler of the same class."
            )
        return {k: v for k, v in state_dict.items() if k in names}

    def _load(self, state: Mapping[str, PyTree]) -> None:
        self.__dict__.update({k: list(v) if isinstance(v, list) else v for k, v in state.items()})

    def _record_change(self, before: list[Rate]) -> None:
        """Records the rates if the constructor has changed them."""
        if not _equal(before, self._rates()):
            _CONSTRUCTED_RATES[self.optimizer] = self._rates()

    def _set_momenta(self) -> None:
        """Sets the momenta of the groups, where they depend on `last_epoch`."""


_CONSTRUCTED_RATES: weakref.WeakKeyDictionary[Optimizer, list[Rate]] = weakref.WeakKeyDictionary()
"""The rates that a scheduler's constructor, or a load after it, has set in an optimizer.

`load_state_dict` of the scheduler must replace these rates: if the optimizer was loaded before the
scheduler was made, the constructor has overwritten the loaded rates. If the optimizer is loaded
afterwards, it has other rates, which are not replaced.
"""


def _equal(a: list[Rate] | None, b: list[Rate]) -> bool:
    return (
        a is not None
        and len(a) == len(b)
        and all(bool(np.all(x == y)) for x, y in zip(a, b, strict=True))
    )


def _is_only_in_torch(key: str) -> bool:
    """Tells whether only torch has an entry: a private one, or one of an older version."""
    return key.startswith("_") or key == "verbose"
