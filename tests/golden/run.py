"""What a run of a case gives, in torch or here."""

import dataclasses
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass
class Run:
    """A run.

    Attributes:
      params: after each step, name -> parameter.
      state: name -> entries of the optimizer's state at the end, for those that have any.
      groups: options of each group at the start.
      saved: the state in the same form after `saved` steps, where the case asks for it.
      saved_groups: options of each group then.
      error: what torch raised, and the run ends there.
    """

    params: list[Arrays] = dataclasses.field(default_factory=list)
    state: dict[str, Arrays] = dataclasses.field(default_factory=dict)
    groups: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    saved: dict[str, Arrays] = dataclasses.field(default_factory=dict)
    saved_groups: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    error: str | None = None
