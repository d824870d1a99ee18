"""Plays a scheduler's case, in torch or here: what differs between them is passed in."""

import copy
from collections.abc import Callable
from typing import Any

from .sched_cases import OPTIMIZERS, Spec, arguments

Rates = list[float]


class Side:
    """One of the two libraries.

    Attributes:
      optimizers: module with the optimizers.
      schedulers: module with the schedulers.
      array: makes an array of a shape, or a scalar of a value and a dtype.
      step: makes one step of an optimizer with zero gradients.
    """

    def __init__(
        self,
        optimizers: Any,
        schedulers: Any,
        parameter: Callable[[int], Any],
        scalar: Callable[[float, str], Any],
        step: Callable[[Any], None],
    ):
        self.optimizers, self.schedulers = optimizers, schedulers
        self.parameter, self.scalar, self.step = parameter, scalar, step

    def optimizer(self, name: str) -> Any:
        """An optimizer with one parameter in each group."""
        how = OPTIMIZERS[name]
        lrs = [self.scalar(lr, how["dtype"]) if "dtype" in how else lr for lr in how["lrs"]]
        groups = [{"params": [self.parameter(i + 1)], "lr": lr} for i, lr in enumerate(lrs)]
        return getattr(self.optimizers, how["optimizer"])(groups, lr=0.1)

    def build(self, optimizer: Any, specs: list[Spec], **more: Any) -> list[Any]:
        """The schedulers of a case."""
        return [
            getattr(self.schedulers, spec["scheduler"])(optimizer, **arguments(spec), **more)
            for spec in specs
        ]

    def play(self, case: dict[str, Any]) -> tuple[list[Rates], list[Rates], list[dict[str, Any]]]:
        """Learning rates before the first step and after each, and as the last scheduler says.

        Returns:
          Both, for all groups, and the schedulers' state_dicts at the end.
        """
        optimizer = self.optimizer(case["optimizer"])
        schedulers = self.build(optimizer, case["schedulers"])
        rates, last = [_rates(optimizer)], [_floats(schedulers[-1].get_last_lr())]
        for t in range(case["steps"]):
            if t == case["at"]:
                optimizer, schedulers = self._drive(case, optimizer, schedulers)
            self.step(optimizer)
            for scheduler in schedulers:
                scheduler.step(*[t + 1] * (case["driver"] == "epoch"))
            rates.append(_rates(optimizer))
            last.append(_floats(schedulers[-1].get_last_lr()))
        return rates, last, [scheduler.state_dict() for scheduler in schedulers]

    def _drive(self, case: dict[str, Any], optimizer: Any, schedulers: list[Any]) -> Any:
        driver, at = case["driver"], case["at"]
        if driver == "external":
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * 0.5
        if driver == "add_group":
            optimizer.add_param_group({"params": [self.parameter(9)], "lr": 0.7})
        if driver not in ("resume", "last_epoch"):
            return optimizer, schedulers
        saved = copy.deepcopy([x.state_dict() for x in (optimizer, *schedulers)])
        optimizer = self.optimizer(case["optimizer"])
        if driver == "last_epoch":
            optimizer.load_state_dict(saved[0])
            # The constructor makes the step from at - 1.
            return optimizer, self.build(optimizer, case["schedulers"], last_epoch=at - 1)
        schedulers = self.build(optimizer, case["schedulers"])
        for x, state in zip((optimizer, *schedulers), saved, strict=True):
            x.load_state_dict(state)
        return optimizer, schedulers


def _rates(optimizer: Any) -> Rates:
    return _floats(group["lr"] for group in optimizer.param_groups)


def _floats(values: Any) -> Rates:
    return [float(v) for v in values]
