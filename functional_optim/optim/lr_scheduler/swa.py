"""torch's SWALR."""

from collections.abc import Sequence

from ...core.rules.schedule import check_choice
from ...schedules.phases import SHAPES, phase
from ..optimizer import Optimizer
from .base import LRScheduler
from .common import Rate, as_float64, check_optimizer, per_group

__all__ = ["SWALR"]


class SWALR(LRScheduler):
    """Anneals the learning rate from its present value to a constant.

    Over `anneal_epochs` the distance to `swa_lr` shrinks by a factor per epoch, so that an edit
    of the learning rate lasts until the end. As a schedule: `linear_schedule(lr, swa_lr,
    anneal_epochs)`, or `cosine_decay_schedule` for a cosine. A group that is added later anneals
    to the `swa_lr` in its dict, or to the swa_lr of the last group.

    Differences: with last_epoch the annealing continues; in torch it starts again.

    Args:
      swa_lr: the constant, one for all groups or a list.
      anneal_epochs: number of epochs from the present rate to swa_lr.
      anneal_strategy: `"cos"` or `"linear"`.
      See `LRScheduler` for the others.

    Raises:
      ValueError: the strategy is unknown, anneal_epochs is not an integer >= 0, or the length
        of a list is not the number of groups.

    Reference: Izmailov et al., Averaging Weights Leads to Wider Optima and Better
    Generalization, UAI 2018, section 3.2, arXiv:1803.05407.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        check_optimizer("SWALR", optimizer)
        values = per_group("SWALR: swa_lr", optimizer, swa_lr)
        check_choice(anneal_strategy, "SWALR: anneal_strategy", ("cos", "linear"))
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(
                f"SWALR: anneal_epochs must be an integer >= 0, got {anneal_epochs!r}."
            )
        for group, value in zip(optimizer.param_groups, values, strict=True):
            group["swa_lr"] = value
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _weight(self, epoch: int) -> float:
        """Returns the weight of the learning rate at which the annealing began."""
        if epoch < 0:
            return 1.0
        shape = SHAPES["cosine" if self._anneal_strategy == "cos" else "linear"]
        return float(shape(phase(*as_float64(epoch, self.anneal_epochs))).left)

    def _add_new_groups(self) -> None:
        groups = self.optimizer.param_groups
        for group in groups[len(self.base_lrs) :]:
            group.setdefault("swa_lr", groups[len(self.base_lrs) - 1]["swa_lr"])
        super()._add_new_groups()

    def _update_lr(self, epoch: int | None = None) -> None:
        self._weight_before = self._weight(self.last_epoch)
        try:
            super()._update_lr(epoch)
        finally:
            del self._weight_before

    def get_lr(self) -> list[Rate]:
        """Returns `swa_lr + (lr - swa_lr) weight / weight_before`, of two subsequent epochs."""
        self._check_within_step()
        if self._is_initial and self.last_epoch > 0:
            return self._rates()
        weight = self._weight(self.last_epoch)
        before = getattr(self, "_weight_before", self._weight(self.last_epoch - 1))
        # The weight does not change, so neither does the rate, which the user may have edited.
        if weight == before != 0:
            return self._rates()
        share = weight / before if before else 0.0
        pairs = zip(self._rates(), self.optimizer.param_groups, strict=True)
        return [group["swa_lr"] + (lr - group["swa_lr"]) * share for lr, group in pairs]
