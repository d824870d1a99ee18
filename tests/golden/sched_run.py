"""Runs the cases of the schedulers, in torch or in this library."""

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
      last_lr: the learning rates that `get_last_lr` of the last scheduler returns.
      momentum: the momenta of all groups, or the first of their betas.
      states: the schedulers' state_dicts at the end.
      error: name of the exception that ended the run; None if there was no exception.
    """

    lr: list[Row] = dataclasses.field(default_factory=list)
    last_lr: list[Row] = dataclasses.field(default_factory=list)
    momentum: list[Row] = dataclasses.field(default_factory=list)
    states: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Side:
    """The functions in which torch and this library differ.

    Attributes:
      make: makes an optimizer from the name of its class, groups and options.
      schedulers: the modules that define the schedulers.
      parameter: makes a parameter with this number of elements.
      scalar: makes an array from a number and the name of a dtype.
      step: makes a step of an optimizer, or only counts it.
    """

    make: Callable[..., Any]
    schedulers: tuple[Any, ...]
    parameter: Callable[[int], Any]
    scalar: Callable[[float, str], Any]
    step: Callable[[Any], None]

    def make_optimizer(self, name: str) -> Any:
        """Makes an optimizer with one parameter in each group."""
        options = dict(OPTIMIZERS[name])
        dtype, lrs = options.pop("dtype", None), options.pop("lrs")
        lrs = [self.scalar(lr, dtype) if dtype else lr for lr in lrs]
        groups = [{"params": [self.parameter(i + 1)], "lr": lr} for i, lr in enumerate(lrs)]
        return self.make(options.pop("optimizer"), groups, lr=0.1, **options)

    def make_scheduler(self, optimizer: Any, spec: Spec, **last_epoch: int) -> Any:
        """Makes the scheduler that a specification describes."""
        options = arguments(spec)
        if "schedulers" in options:
            parts = [self.make_scheduler(optimizer, part) for part in options["schedulers"]]
            options["schedulers"] = parts
        name = spec["scheduler"]
        (scheduler,) = {getattr(m, name) for m in self.schedulers if hasattr(m, name)}
        if name == "ChainedScheduler":
            return scheduler(options["schedulers"], optimizer)
        return scheduler(optimizer, **options, **last_epoch)

    def play(self, case: Case, catch: tuple[type[Exception], ...] = ()) -> Track:
        """Runs a case, until it ends or raises an exception of these types."""
        track = Track()
        try:
            self._play(case, track)
        except catch as error:
            track.error = type(error).__name__
        return track

    def _play(self, case: Case, track: Track) -> None:
        optimizer = self.make_optimizer(case["optimizer"])
        schedulers = [self.make_scheduler(optimizer, spec) for spec in case["schedulers"]]
        _record(track, optimizer, schedulers)
        for t in range(case["steps"]):
            if t == case["at"]:
                optimizer, schedulers = self._apply_driver(case, optimizer, schedulers)
            self.step(optimizer)
            for spec, scheduler in zip(case["schedulers"], schedulers, strict=True):
                scheduler.step(*_step_arguments(case, spec, t))
            _record(track, optimizer, schedulers)
        track.states = [scheduler.state_dict() for scheduler in schedulers]

    def _apply_driver(self, case: Case, optimizer: Any, schedulers: list[Any]) -> Any:
        """Changes or replaces the optimizer and schedulers, as the case's driver does."""
        driver, at = case["driver"], case["at"]
        if driver == "external":
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * 0.5
        if driver == "add_group":
            optimizer.add_param_group({"params": [self.parameter(9)], "lr": 0.7})
        if driver not in ("resume", "last_epoch"):
            return optimizer, schedulers
        saved = copy.deepcopy([x.state_dict() for x in (*schedulers, optimizer)])
        optimizer = self.make_optimizer(case["optimizer"])
        if driver == "last_epoch":
            optimizer.load_state_dict(saved[-1])
            # The constructor steps from epoch at - 1 to epoch at.
            (spec,) = case["schedulers"]
            return optimizer, [self.make_scheduler(optimizer, spec, last_epoch=at - 1)]
        schedulers = [self.make_scheduler(optimizer, spec) for spec in case["schedulers"]]
        for x, state in zip((*schedulers, optimizer), saved, strict=True):
            x.load_state_dict(state)
        return optimizer, schedulers


def _step_arguments(case: Case, spec: Spec, t: int) -> list[float]:
    """Returns the arguments with which `step` of a scheduler is called at step t."""
    if spec["scheduler"] == "ReduceLROnPlateau":
        return [METRICS[case["metrics"]][t]]
    return [case["epochs"][t]] if "epochs" in case else []


def _record(track: Track, optimizer: Any, schedulers: list[Any]) -> None:
    """Appends the learning rates and momenta to a track."""
    groups = optimizer.param_groups
    track.lr.append([float(group["lr"]) for group in groups])
    track.last_lr.append([float(lr) for lr in schedulers[-1].get_last_lr()])
    first = [group["betas"][0] if "betas" in group else group["momentum"] for group in groups]
    track.momentum.append([float(x) for x in first])


def table(rows: list[Row]) -> np.ndarray:
    """Returns rows as one array, with NaN where a group does not exist yet."""
    n = max(map(len, rows))
    return np.array([row + [np.nan] * (n - len(row)) for row in rows])
