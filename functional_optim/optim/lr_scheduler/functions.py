"""Schedulers that the user's functions of the epoch make."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler
from .rates import check_optimizer

__all__ = ["LambdaLR", "MultiplicativeLR", "load_attributes", "saved_attributes"]

Function = Callable[[int], float]


class _OfFunctions(LRScheduler):
    """A scheduler with a function for each group; one added later follows the last."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Function | Sequence[Function],
        last_epoch: int = -1,
    ):
        check_optimizer(type(self).__name__, optimizer)
        given = lr_lambda if isinstance(lr_lambda, (list, tuple)) else None
        n = len(optimizer.param_groups)
        if given is not None and len(given) != n:
            raise ValueError(
                f"{type(self).__name__}: Expected {n} lr_lambdas, one for each group, but got "
                f"{len(given)}."
            )
        self.lr_lambdas: list[Any] = list(given) if given is not None else [lr_lambda] * n
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(
                    f"{type(self).__name__}: lr_lambda must be a function of the epoch, or a list "
                    f"of such, got {function!r}."
                )
        super().__init__(optimizer, last_epoch)

    def _factors(self) -> list[float]:
        """What each group's function gives at this epoch."""
        more = len(self.optimizer.param_groups) - len(self.lr_lambdas)
        functions = [*self.lr_lambdas, *self.lr_lambdas[-1:] * more]
        return [function(self.last_epoch) for function in functions]

    def state_dict(self) -> dict[str, Any]:
        """As the base; of the functions, only the attributes of callable objects are saved."""
        return {**super().state_dict(), "lr_lambdas": list(map(saved_attributes, self.lr_lambdas))}

    def _load(self, state: Mapping[str, Any]) -> None:
        attributes = state.get("lr_lambdas", ())
        super()._load({k: v for k, v in state.items() if k != "lr_lambdas"})
        for function, saved in zip(self.lr_lambdas, attributes, strict=False):
            load_attributes(function, saved)


def saved_attributes(function: Any) -> dict[str, Any] | None:
    """What a state_dict keeps of a function: the attributes of a callable object."""
    plain = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
    if function is None or isinstance(function, plain):
        return None
    return dict(getattr(function, "__dict__", {}))


def load_attributes(function: Any, saved: dict[str, Any] | None) -> None:
    """Restores the attributes of a callable object."""
    if saved:
        function.__dict__.update(saved)


class LambdaLR(_OfFunctions):
    """Sets the learning rate to the initial one times a function of the epoch.

    As a schedule: any function of the step.

    Args:
      lr_lambda: function of the epoch, or a list of one for each group.

    Raises:
      TypeError: lr_lambda is no function.
      ValueError: the list has another length than there are groups.
    """

    def get_lr(self) -> list[Any]:
        """`initial_lr lr_lambda(epoch)`."""
        self._check_within_step()
        return [lr * factor for lr, factor in zip(self.base_lrs, self._factors(), strict=True)]


class MultiplicativeLR(_OfFunctions):
    """Multiplies the learning rate by a function of the epoch, at each epoch but the first.

    A run continued with last_epoch keeps the learning rate that the optimizer has.

    Args:
      lr_lambda: function of the epoch, or a list of one for each group.

    Raises:
      TypeError: lr_lambda is no function.
      ValueError: the list has another length than there are groups.
    """

    def get_lr(self) -> list[Any]:
        """`lr lr_lambda(epoch)`."""
        self._check_within_step()
        if self._is_initial:
            return self._rates()
        return [lr * factor for lr, factor in zip(self._rates(), self._factors(), strict=True)]
