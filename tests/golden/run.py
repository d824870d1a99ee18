"""The results of a run of a case, in torch or here."""

import dataclasses
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass
class Run:
    """The results of a run.

    Attributes:
      params: step, from 0 -> name -> parameter after this step; the files have only some steps.
      state: name -> entries of the optimizer's state at the end, without parameters that have none.
      defaults: options of a group that sets no options.
      saved: the state after `saved` steps, as in `state`, if the case has `saved`.
      saved_groups: options of each group after `saved` steps.
      losses: the result of each step, if the problem is a loss.
      counts: `n_iter`, `func_evals` and the calls of the closure after each step, if it is a loss.
      error: name of the exception of torch, which ends the run.
    """

    params: dict[int, Arrays] = dataclasses.field(default_factory=dict)
    state: dict[str, Arrays] = dataclasses.field(default_factory=dict)
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    saved: dict[str, Arrays] = dataclasses.field(default_factory=dict)
    saved_groups: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    losses: list[float] = dataclasses.field(default_factory=list)
    counts: list[list[int]] = dataclasses.field(default_factory=list)
    error: str | None = None
