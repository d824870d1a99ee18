"""Writes `torch_names.json`: the public names of torch around optimizers, and signatures.

In an environment with torch: `python -m tests.golden.make_names`.
"""

import importlib
import inspect
import json
from collections.abc import Iterator
from typing import Any

from .signatures import FILE, bare

MODULES = ("torch.optim", "torch.optim.lr_scheduler", "torch.optim.swa_utils")
CLASSES = ("torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler")
FUNCTIONS = (
    "torch.nn.utils.clip_grad_norm_",
    "torch.nn.utils.clip_grad_value_",
    "torch.nn.utils.clip_grads_with_norm_",
    "torch.nn.utils.get_total_norm",
    "torch.optim.optimizer.register_optimizer_step_post_hook",
    "torch.optim.optimizer.register_optimizer_step_pre_hook",
)


def names() -> dict[str, str | None]:
    """Maps each dotted name to its signature without annotations, or to None for a module."""
    return {k: None if inspect.ismodule(v) else bare(v) for k, v in sorted(_found())}


def _found() -> Iterator[tuple[str, Any]]:
    for where in MODULES:
        module = importlib.import_module(where)
        yield from ((f"{where}.{k}", getattr(module, k)) for k in module.__all__)
    for where in CLASSES:
        methods = inspect.getmembers(_get(where), inspect.isfunction)
        yield from ((f"{where}.{k}", method) for k, method in methods if not k.startswith("_"))
    yield from ((name, _get(name)) for name in FUNCTIONS)


def _get(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


if __name__ == "__main__":
    FILE.write_text(json.dumps(names(), indent=0) + "\n", encoding="utf-8")
