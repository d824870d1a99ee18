"""Schedulers made of the user's functions of the epoch."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...core.protocol import PyTree
from ..optimizer import Optimizer
from .base import LRScheduler
from .common import Rate, check_optimizer

__all__ = ["LambdaLR", "MultiplicativeLR", "load_attributes", "saved_attributes"]

Function = Callable[[int], float]


class _FunctionLR(LRScheduler):
    """A scheduler with a function for each group; a group added later has the last function."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Function | Sequence[Function],
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(type(self).__name__, optimizer)
        n = len(optimizer.param_groups)
        functions = lr_lambda if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        if len(functions) != n:
            raise ValueError(
                f"{type(self).__name__}: Expected {n} lr_lambdas, one for each group, but got "
                f"{len(functions)}."
            )
        self.lr_lambdas: list[Any] = list(functions)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(
                    f"{type(self).__name__}: lr_lambda must be a function of the epoch, or a list "
                    f"of such, got {function!r}."
                )
        super().__init__(optimizer, last_epoch)

    def _factors(self) -> list[float]:
        """Evaluates the functions of all groups at this epoch."""
        more = len(self.optimizer.param_groups) - len(self.lr_lambdas)
        functions = [*self.lr_lambdas, *self.lr_lambdas[-1:] * more]
        return [function(self.last_epoch) for function in functions]

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the base class, and the attributes of functions that are objects."""
        return {**super().state_dict(), "lr_lambdas": list(map(saved_attributes, self.lr_lambdas))}

    def _load(self, state: Mapping[str, PyTree]) -> None:
        attributes = state.get("lr_lambdas", ())
        super()._load({k: v for k, v in state.items() if k != "lr_lambdas"})
        for function, saved in zip(self.lr_lambdas, attributes, strict=False):
            load_attributes(function, saved)


def saved_attributes(function: object) -> dict[str, PyTree] | None:
    """Returns the attributes of a callable object, or None for a plain function."""
    plain = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
    if function is None or isinstance(function, plain):
        return None
    return dict(getattr(function, "__dict__", {}))


def load_attributes(function: object, saved: dict[str, PyTree] | None) -> None:
    """Restores the attributes of a callable object."""
    if saved:
        function.__dict__.update(saved)


class LambdaLR(_FunctionLR):
    """Sets the learning rate to the initial one times a function of the epoch.

    As a schedule: any function of the step.

    Args:
      lr_lambda: function of the epoch, or a list of one for each group.
      See `LRScheduler` for the others.

    Raises:
      TypeError: lr_lambda is not a function.
      ValueError: the length of the list is not the number of groups.
    """

    def get_lr(self) -> list[Rate]:
        """Returns `initial_lr lr_lambda(epoch)`."""
        self._check_within_step()
        return [lr * factor for lr, factor in zip(self.base_lrs, self._factors(), strict=True)]


class MultiplicativeLR(_FunctionLR):
    """Multiplies the learning rate by a function of the epoch, at each epoch but the first.

    If a run is continued with last_epoch, the optimizer's present learning rate is kept.

    Args:
      lr_lambda: function of the epoch, or a list of one for each group.
      See `LRScheduler` for the others.

    Raises:
      TypeError: lr_lambda is not a function.
      ValueError: the length of the list is not the number of groups.
    """

    def get_lr(self) -> list[Rate]:
        """Returns `lr lr_lambda(epoch)`."""
        self._check_within_step()
        if self._is_initial:
            return self._rates()
        return [lr * factor for lr, factor in zip(self._rates(), self._factors(), strict=True)]
