"""The schedulers' cases in torch."""

import torch

from .sched_run import Side


def _step(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.zeros_like(p)
    optimizer.step()


TORCH = Side(
    torch.optim,
    torch.optim.lr_scheduler,
    lambda n: torch.nn.Parameter(torch.ones(n)),
    lambda value, dtype: torch.tensor(value, dtype=getattr(torch, dtype)),
    _step,
)
