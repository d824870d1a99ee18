"""torch.optim.lr_scheduler: objects that edit the learning rates of an optimizer's groups."""

import abc
import math
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .optimizer import Optimizer

__all__ = ["CosineAnnealingLR", "LRScheduler", "LambdaLR", "StepLR"]


class LRScheduler(abc.ABC):
    """Base of the schedulers: sets `lr` of every group at each `step`.

    A subclass gives `next_lr`, from the present learning rate, so that schedulers compose
    and edits persist; and `lr_at`, from the initial one, for `step(epoch)`. Constructing a
    scheduler makes its first step, as in torch. A group that is added later starts with the
    learning rate that it has then.

    Args:
      optimizer: a stateful optimizer.
      last_epoch: number of the last epoch of a run that is continued; -1 starts anew.

    Raises:
      TypeError: optimizer is not one of this package.
      KeyError: last_epoch is not -1, and a group has no `initial_lr`.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: {type(optimizer).__name__} is not an Optimizer. Pass one "
                "of functional_optim.optim."
            )
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    f"{type(self).__name__} with last_epoch={last_epoch}. Load the optimizer's "
                    "state_dict first, or set it."
                )
        self.last_epoch = last_epoch
        self._step_count = 0
        self._set(last_epoch + 1, self.next_lr)

    def next_lr(self, lr: Any, initial_lr: Any, index: int) -> Any:
        """The learning rate of group `index` at `last_epoch`, from that of the epoch before."""
        del lr
        return self.lr_at(initial_lr, index)

    @abc.abstractmethod
    def lr_at(self, initial_lr: Any, index: int) -> Any:
        """The learning rate of group `index` at `last_epoch`, from the initial one."""

    @property
    def base_lrs(self) -> list[Any]:
        """The initial learning rates of the groups."""
        return [
            group.setdefault("initial_lr", group["lr"]) for group in self.optimizer.param_groups
        ]

    def get_last_lr(self) -> list[Any]:
        """The learning rates that the last step set."""
        return list(self._last_lr)

    def step(self, epoch: int | None = None) -> None:
        """Moves to the next epoch, or to a given one, and sets the learning rates.

        Args:
          epoch: compute the learning rates from the initial ones, at this epoch.
        """
        if self._step_count == 1 and self.optimizer.step_count == 0:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first "
                "value of the schedule is skipped. Call optimizer.step() first.",
                UserWarning,
                stacklevel=2,
            )
        if epoch is None:
            self._set(self.last_epoch + 1, self.next_lr)
        else:
            self._set(epoch, lambda lr, initial_lr, index: self.lr_at(initial_lr, index))

    def _set(self, epoch: int, rule: Callable[[Any, Any, int], Any]) -> None:
        self.last_epoch = epoch
        self._step_count += 1
        groups = self.optimizer.param_groups
        for i, (group, initial) in enumerate(zip(groups, self.base_lrs, strict=True)):
            group["lr"] = rule(group["lr"], initial, i)
        self._last_lr = [group["lr"] for group in groups]

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer, as plain data, under torch's names."""
        own = {k: v for k, v in self.__dict__.items() if k != "optimizer"}
        return {**own, "base_lrs": self.base_lrs}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave, here or in torch."""
        state = dict(state_dict)
        for group, lr in zip(self.optimizer.param_groups, state.pop("base_lrs", []), strict=False):
            group["initial_lr"] = lr
        self.__dict__.update(state)


class StepLR(LRScheduler):
    """Multiplies the learning rate by `gamma` every `step_size` epochs.

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
    ):
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: Any, initial_lr: Any, index: int) -> Any:
        """Multiplies at the multiples of step_size."""
        del initial_lr, index
        return lr if self.last_epoch == 0 or self.last_epoch % self.step_size else lr * self.gamma

    def lr_at(self, initial_lr: Any, index: int) -> Any:
        """`initial_lr gamma^(epoch // step_size)`."""
        del index
        return initial_lr * self.gamma ** (self.last_epoch // self.step_size)


class LambdaLR(LRScheduler):
    """Sets the learning rate to the initial one times a function of the epoch.

    Args:
      lr_lambda: function of the epoch, or a list of one for each group.

    Raises:
      ValueError: the list has another length than there are groups.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ):
        given = lr_lambda if isinstance(lr_lambda, (list, tuple)) else None
        if given is not None and len(given) != len(optimizer.param_groups):
            raise ValueError(
                f"Expected {len(optimizer.param_groups)} lr_lambdas, one for each group, but got "
                f"{len(given)}."
            )
        n = len(optimizer.param_groups)
        self.lr_lambdas: list[Any] = list(given) if given is not None else [lr_lambda] * n
        super().__init__(optimizer, last_epoch)

    def lr_at(self, initial_lr: Any, index: int) -> Any:
        """`initial_lr lr_lambda(epoch)`; a group added later follows the last function."""
        function = self.lr_lambdas[min(index, len(self.lr_lambdas) - 1)]
        return initial_lr * function(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """As the base; of the functions, only the attributes of callable objects are saved."""
        plain = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
        saved = [None if isinstance(f, plain) else dict(f.__dict__) for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": saved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As the base; functions stay those of this scheduler."""
        state = dict(state_dict)
        for function, saved in zip(self.lr_lambdas, state.pop("lr_lambdas"), strict=False):
            if saved is not None:
                function.__dict__.update(saved)
        super().load_state_dict(state)


class CosineAnnealingLR(LRScheduler):
    """Anneals the learning rate along a cosine to `eta_min` at epoch `T_max`.

    After T_max it rises again, with a period of 2 T_max, as in torch.

    Reference: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    ICLR 2017, equation 5, arXiv:1608.03983.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ):
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _wave(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * epoch / self.T_max)) / 2

    def next_lr(self, lr: Any, initial_lr: Any, index: int) -> Any:
        """Moves along the cosine from where the learning rate is."""
        if self.last_epoch == 0:
            return lr
        if self._step_count == 1:  # continued from last_epoch: there is no step before
            return self.lr_at(initial_lr, index)
        before = self._wave(self.last_epoch - 1)
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # before is 0
            return lr + (initial_lr - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return self._wave(self.last_epoch) / before * (lr - self.eta_min) + self.eta_min

    def lr_at(self, initial_lr: Any, index: int) -> Any:
        """`eta_min + (initial_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2`."""
        del index
        return self.eta_min + (initial_lr - self.eta_min) * self._wave(self.last_epoch)
