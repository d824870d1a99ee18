"""The schedulers' cases in torch."""

from typing import Any

import torch
from torch.optim import lr_scheduler, swa_utils

from .sched_run import Side


def _make(name: str, groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    optimizer = getattr(torch.optim, name)(groups, **options)
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def _step(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()  # without gradients


TORCH = Side(
    _make,
    (lr_scheduler, swa_utils),
    lambda n: torch.nn.Parameter(torch.ones(n)),
    lambda value, dtype: torch.tensor(value, dtype=getattr(torch, dtype)),
    _step,
)
