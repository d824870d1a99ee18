"""Plays a scheduler's case, in torch or here: what differs between them is passed in."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .sched_cases import METRICS, OPTIMIZERS, Case, Spec, arguments

Row = list[float]
FIELDS = ("lr", "last_lr", "momentum")


@dataclasses.dataclass
class Track:
    """The values that a run records before its first step and after each step.

    Attributes:
      lr: the learning rates of all groups.
      last_lr: what the last scheduler says that they are.
      momentum: of all groups, or the first of their betas.
      states: the schedulers' state_dicts at the end.
      error: name of the exception that ended it.
    """

    lr: list[Row] = dataclasses.field(default_factory=list)
    last_lr: list[Row] = dataclasses.field(default_factory=list)
    momentum: list[Row] = dataclasses.field(default_factory=list)
    states: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two libraries.

    Attributes:
      make: makes an optimizer: class, groups, options.
      schedulers: modules with the schedulers.
      parameter: makes a parameter of a length.
      scalar: makes an array of a number and a dtype.
      step: makes a step of an optimizer, or lets the schedulers believe it.
    """

    make: Callable[..., Any]
    schedulers: tuple[Any, ...]
    parameter: Callable[[int], Any]
    scalar: Callable[[float, str], Any]
    step: Callable[[Any], None]

    def optimizer(self, name: str) -> Any:
        """Makes an optimizer with one parameter in each group."""
        how = dict(OPTIMIZERS[name])
        dtype, lrs = how.pop("dtype", None), how.pop("lrs")
        lrs = [self.scalar(lr, dtype) if dtype else lr for lr in lrs]
        groups = [{"params": [self.parameter(i + 1)], "lr": lr} for i, lr in enumerate(lrs)]
        return self.make(how.pop("optimizer"), groups, lr=0.1, **how)

    def build(self, optimizer: Any, spec: Spec, **more: Any) -> Any:
        """Builds the scheduler of a specification."""
        given = arguments(spec)
        if "schedulers" in given:
            given["schedulers"] = [self.build(optimizer, each) for each in given["schedulers"]]
        name = spec["scheduler"]
        (found,) = {getattr(m, name) for m in self.schedulers if hasattr(m, name)}
        if name == "ChainedScheduler":
            return found(given["schedulers"], optimizer)
        return found(optimizer, **given, **more)

    def play(self, case: Case, catch: tuple[type[Exception], ...] = ()) -> Track:
        """Plays a case, up to an exception that is caught."""
        track = Track()
        try:
            self._play(case, track)
        except catch as error:
            track.error = type(error).__name__
        return track

    def _play(self, case: Case, track: Track) -> None:
        optimizer = self.optimizer(case["optimizer"])
        schedulers = [self.build(optimizer, spec) for spec in case["schedulers"]]
        _look(track, optimizer, schedulers)
        for t in range(case["steps"]):
            if t == case["at"]:
                optimizer, schedulers = self._drive(case, optimizer, schedulers)
            self.step(optimizer)
            for spec, scheduler in zip(case["schedulers"], schedulers, strict=True):
                scheduler.step(*_argument(case, spec, t))
            _look(track, optimizer, schedulers)
        track.states = [scheduler.state_dict() for scheduler in schedulers]

    def _drive(self, case: Case, optimizer: Any, schedulers: list[Any]) -> Any:
        driver, at = case["driver"], case["at"]
        if driver == "external":
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * 0.5
        if driver == "add_group":
            optimizer.add_param_group({"params": [self.parameter(9)], "lr": 0.7})
        if driver not in ("resume", "last_epoch"):
            return optimizer, schedulers
        saved = copy.deepcopy([x.state_dict() for x in (*schedulers, optimizer)])
        optimizer = self.optimizer(case["optimizer"])
        if driver == "last_epoch":
            optimizer.load_state_dict(saved[-1])
            # The constructor makes the step from at - 1.
            (spec,) = case["schedulers"]
            return optimizer, [self.build(optimizer, spec, last_epoch=at - 1)]
        schedulers = [self.build(optimizer, spec) for spec in case["schedulers"]]
        for x, state in zip((*schedulers, optimizer), saved, strict=True):
            x.load_state_dict(state)
        return optimizer, schedulers


def _argument(case: Case, spec: Spec, t: int) -> list[float]:
    """Returns the arguments of a scheduler's step number t."""
    if spec["scheduler"] == "ReduceLROnPlateau":
        return [METRICS[case["metrics"]][t]]
    return [case["epochs"][t]] if "epochs" in case else []


def _look(track: Track, optimizer: Any, schedulers: list[Any]) -> None:
    groups = optimizer.param_groups
    track.lr.append([float(group["lr"]) for group in groups])
    track.last_lr.append([float(lr) for lr in schedulers[-1].get_last_lr()])
    first = [group["betas"][0] if "betas" in group else group["momentum"] for group in groups]
    track.momentum.append([float(x) for x in first])


def table(rows: list[Row]) -> np.ndarray:
    """Returns rows as one array, with NaN where a group does not exist yet."""
    n = max(map(len, rows))
    return np.array([row + [np.nan] * (n - len(row)) for row in rows])
