"""torch.optim.lr_scheduler: objects that edit the learning rates of an optimizer's groups."""

import math
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .optimizer import Optimizer
from .param_group import ParamGroup

__all__ = ["CosineAnnealingLR", "LRScheduler", "LambdaLR", "StepLR"]


class LRScheduler:
    """Base of the schedulers: sets the learning rate of every group at each `step`.

    A subclass gives either `get_lr`, as in torch: a list with the new learning rate of each
    group. Or, for one group at a time, `lr_at`, from the initial learning rate, and where
    schedulers are to compose and edits to persist, `next_lr`, from the present one.

    Constructing a scheduler makes its first step, as in torch. A group that is added later
    starts with the learning rate that it has then. The option is `lr`, or `learning_rate` of
    an `Optimizer` over a transformation.

    Args:
      optimizer: a stateful optimizer.
      last_epoch: number of the last epoch of a run that is continued; -1 starts anew. The
        learning rates are then those of the next epoch, computed from the initial ones.

    Attributes:
      base_lrs: the initial learning rates of the groups; may be edited.
      last_epoch: number of the present epoch.

    Raises:
      TypeError: optimizer is not one of this package, or a learning rate is a schedule.
      KeyError: a group has no learning rate; or last_epoch is not -1, and a group has no
        `initial_lr`.
    """

    # What schedulers written for torch ask in get_lr, to warn where a user calls it.
    _get_lr_called_within_step = True

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{name}: {type(optimizer).__name__} is not an Optimizer. Pass one "
                "of functional_optim.optim."
            )
        self.optimizer = optimizer
        key = rate_key(name, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if callable(group[key]):
                raise TypeError(f"{name}: {key} of group {i} is a schedule already. Pass a number.")
            if last_epoch == -1:
                group.setdefault("initial_lr", group[key])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    f"{name} with last_epoch={last_epoch}. Load the optimizer's "
                    "state_dict first, or set it."
                )
        self.base_lrs: list[Any] = []
        self.last_epoch = last_epoch
        self._step_count = 0
        self._last_lr: list[Any] = []
        self._set(last_epoch + 1, anew=last_epoch != -1)

    def get_lr(self) -> list[Any]:
        """The learning rates of the groups at `last_epoch`, from those of the epoch before."""
        key = rate_key(type(self).__name__, self.optimizer)
        return [
            self.next_lr(group[key], initial_lr, i)
            for i, (group, initial_lr) in enumerate(self._groups())
        ]

    def next_lr(self, lr: Any, initial_lr: Any, index: int) -> Any:
        """The learning rate of group `index` at `last_epoch`, from that of the epoch before."""
        del lr
        return self.lr_at(initial_lr, index)

    def lr_at(self, initial_lr: Any, index: int) -> Any:
        """The learning rate of group `index` at `last_epoch`, from the initial one."""
        raise NotImplementedError(
            f"{type(self).__name__}: a scheduler must define get_lr(self), which returns the "
            "learning rates of all groups, or lr_at(self, initial_lr, index)."
        )

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
        self._set(self.last_epoch + 1 if epoch is None else epoch, anew=epoch is not None)

    def _set(self, epoch: int, anew: bool) -> None:
        """Sets the learning rates of an epoch; anew: from the initial ones, where that is known."""
        self.last_epoch = epoch
        self._step_count += 1
        key = rate_key(type(self).__name__, self.optimizer)
        groups = self._groups()
        if anew and type(self).lr_at is not LRScheduler.lr_at:
            rates = [self.lr_at(initial_lr, i) for i, (_, initial_lr) in enumerate(groups)]
        else:
            rates = self.get_lr()
        for (group, _), rate in zip(groups, rates, strict=True):
            group[key] = rate
        self._last_lr = [group[key] for group, _ in groups]

    def _groups(self) -> list[tuple[ParamGroup, Any]]:
        """The groups with their initial learning rates; new ones are noted."""
        groups = self.optimizer.param_groups
        key = rate_key(type(self).__name__, self.optimizer)
        for group in groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", group[key]))
        return list(zip(groups, self.base_lrs, strict=False))

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer, as plain data, under torch's names."""
        own = {k: v for k, v in self.__dict__.items() if k != "optimizer"}
        return {**own, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave, here or in torch.

        Raises:
          ValueError: it has entries of another scheduler; nothing is loaded then.
        """
        own = self.state_dict().keys()
        unknown = [k for k in state_dict if k not in own and not _is_of_torch(k)]
        if unknown:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: there is no {unknown[0]!r} in this "
                f"scheduler. It has: {', '.join(sorted(own))}."
            )
        state = {k: v for k, v in state_dict.items() if k in own}
        lists = {k: list(v) for k, v in state.items() if k in ("base_lrs", "_last_lr")}
        self.__dict__.update({**state, **lists})


_LRScheduler = LRScheduler  # the name under which older code for torch subclasses it


def _is_of_torch(key: str) -> bool:
    """Whether torch alone has an entry: a private one, or one of its older versions."""
    return key.startswith("_") or key == "verbose"


def rate_key(name: str, optimizer: Optimizer) -> str:
    """The option that is the learning rate.

    Raises:
      KeyError: there is none; the message names `name`.
    """
    for key in ("lr", "learning_rate"):
        if all(key in group for group in optimizer.param_groups):
            return key
    raise KeyError(
        f"{name}: the groups have neither an option 'lr' nor 'learning_rate'. Pass an optimizer "
        "of functional_optim.optim, or one over a transformation with a learning_rate that is a "
        "number."
    )


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
        _check_positive("StepLR: step_size", step_size)
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
      TypeError: lr_lambda is no function.
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
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(
                    f"LambdaLR: lr_lambda must be a function of the epoch, or a list of such, got "
                    f"{function!r}."
                )
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
        attributes = state.pop("lr_lambdas", [])
        super().load_state_dict(state)
        for function, saved in zip(self.lr_lambdas, attributes, strict=False):
            if saved is not None:
                function.__dict__.update(saved)


class CosineAnnealingLR(LRScheduler):
    """Anneals the learning rate along a cosine to `eta_min` at epoch `T_max`.

    After T_max it rises again, with a period of 2 T_max, as in torch.

    Reference: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    ICLR 2017, equation 5, arXiv:1608.03983.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ):
        _check_positive("CosineAnnealingLR: T_max", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _wave(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * epoch / self.T_max)) / 2

    def next_lr(self, lr: Any, initial_lr: Any, index: int) -> Any:
        """Moves along the cosine from where the learning rate is."""
        if self.last_epoch == 0:
            return lr
        if index >= len(self._last_lr):  # the group was not there at the epoch before
            return self.lr_at(initial_lr, index)
        before = self._wave(self.last_epoch - 1)
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # before is 0
            return lr + (initial_lr - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return self._wave(self.last_epoch) / before * (lr - self.eta_min) + self.eta_min

    def lr_at(self, initial_lr: Any, index: int) -> Any:
        """`eta_min + (initial_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2`."""
        del index
        return self.eta_min + (initial_lr - self.eta_min) * self._wave(self.last_epoch)


def _check_positive(where: str, value: Any) -> None:
    if not value > 0:
        raise ValueError(f"{where} must be a positive number of epochs, got {value!r}.")
