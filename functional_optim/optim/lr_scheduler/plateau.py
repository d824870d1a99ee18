"""torch's ReduceLROnPlateau."""

import math
from collections.abc import Mapping, Sequence
from typing import SupportsFloat

from ...core.protocol import PyTree
from ...core.rules.schedule import check_choice
from ...transforms.plateau import Watch, judge
from ..optimizer import Optimizer
from .base import LRScheduler
from .common import as_float64, check_optimizer, per_group, set_rate

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the learning rate by `factor` when a metric has stopped improving.

    A metric is better if it improves on the best so far by more than the fraction `threshold` of
    the best (`threshold_mode="rel"`), or by more than `threshold` (`"abs"`). After more than
    `patience` epochs that are not better, the rate is multiplied, and the next `cooldown` epochs
    do not count. NaN is not better. As a transformation: `reduce_on_plateau`.

    A negative metric is compared as in torch: with `"rel"` the bound is best (1 - threshold), or
    best (1 + threshold) for `mode="max"`, so that below 0 a slightly worse metric counts as
    better. Use `"abs"` then, or `reduce_on_plateau`, which compares with |best|.

    Args:
      mode: `"min"` for a metric that should fall, `"max"` for one that should rise.
      factor: the factor, less than 1.
      patience: number of epochs in a row without improvement that are accepted.
      threshold: the least improvement.
      threshold_mode: `"rel"` or `"abs"`, whether the threshold is a share of the best metric.
      cooldown: number of epochs after a reduction that do not count.
      min_lr: lower bound of the learning rate, one for all groups or a list.
      eps: changes of the learning rate that are not larger are not made.
      See `LRScheduler` for the others.

    Raises:
      ValueError: factor >= 1, mode or threshold_mode is unknown, or the length of a list is not
        the number of groups.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_optim import optim
      >>> opt = optim.SGD({"w": jnp.ones(1)}, lr=1.0)
      >>> scheduler = optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=1)
      >>> for loss in (3.0, 2.0, 2.0, 2.0):
      ...     scheduler.step(loss)
      >>> scheduler.get_last_lr()
      [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor should be < 1.0, got {factor!r}.")
        check_choice(mode, "ReduceLROnPlateau: mode", ("min", "max"))
        check_choice(threshold_mode, "ReduceLROnPlateau: threshold_mode", ("rel", "abs"))
        check_optimizer("ReduceLROnPlateau", optimizer)
        self.optimizer = optimizer
        self.factor = factor
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = per_group("ReduceLROnPlateau: min_lr", optimizer, min_lr)
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self._last_lr = self._rates()
        self._reset()

    def _reset(self) -> None:
        """Resets the best metric and the counters."""
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether epochs do not count at present."""
        return self.cooldown_counter > 0

    def step(  # type: ignore[override]
        self, metrics: SupportsFloat, epoch: int | None = None
    ) -> None:
        """Records the metric of an epoch, and lowers the learning rates if it has stalled."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        relative = self.threshold_mode == "rel"
        watch, reduce = judge(
            Watch(*as_float64(self.best, self.num_bad_epochs, self.cooldown_counter)),
            *as_float64(
                float(metrics),
                self.threshold if relative else 0.0,
                0.0 if relative else self.threshold,
                self.patience,
                self.cooldown,
            ),
            mode=self.mode,
            relative_to_size=False,
        )
        self.best = float(watch.best)
        self.num_bad_epochs, self.cooldown_counter = int(watch.bad), int(watch.cooldown)
        if reduce:
            self._reduce_lr()
        self._last_lr = self._rates()

    def _reduce_lr(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"The number of param groups in the `optimizer` ({len(groups)}) differs from "
                    f"when `ReduceLROnPlateau` was initialized ({len(self.min_lrs)}). Add the "
                    "lower bounds of the new groups to its `min_lrs`."
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, rate, least in zip(groups, self._rates(), self.min_lrs, strict=True):
            old = float(rate)
            new = max(old * self.factor, least)
            if old - new > self.eps:
                set_rate(group, self._key, new)

    def _load(self, state: Mapping[str, PyTree]) -> None:
        super()._load(state)
        self.mode_worse = math.inf if self.mode == "min" else -math.inf
