"""Runs cases in torch, and lists the configurations of torch's own tests."""

import copy
import sys
import types
import unittest
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .cases import CLASSES, DTYPES, Case, case, decode, second_group
from .problem import GROUPS, Problem
from .run import Run


def configurations() -> Iterator[Case]:
    """Every configuration of torch's tests for our classes, in every dtype."""
    for info in _database():
        defaults = getattr(torch.optim, info.name)([torch.zeros(1)]).defaults
        for given in info.optim_inputs_func(device="cpu"):
            kwargs = {k: encode(v) for k, v in given.kwargs.items()}
            overrides = second_group(kwargs, defaults["lr"], defaults["weight_decay"])
            for dtype in DTYPES:
                yield case(info.name, f"torch: {given.desc}", kwargs, overrides) | {"dtype": dtype}


def _database() -> list[Any]:
    # It imports packages for testing, which nothing here needs, and warns of one more.
    stand_in = types.ModuleType("expecttest")
    stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
    sys.modules.setdefault("expecttest", stand_in)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_optimizers import optim_db

    return [info for info in optim_db if info.name in CLASSES]


def encode(value: Any) -> Any:
    """A value as a case has it."""
    if isinstance(value, torch.Tensor):
        return {"array": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    return [encode(v) for v in value] if isinstance(value, tuple) else value


def run(case: Case, problem: Problem) -> Run:
    """Plays a case with torch's plain implementation."""
    params = {k: torch.nn.Parameter(torch.from_numpy(x.copy())) for k, x in problem.start.items()}
    groups = [{"params": [params[k] for k in names]} for names in GROUPS]
    groups[1] |= _options(case["overrides"])
    optimizer = getattr(torch.optim, case["optimizer"])(
        groups, foreach=False, **_options(case["kwargs"])
    )
    result = Run(groups=_groups(optimizer))
    for t in range(case["steps"]):
        for e in case["events"]:
            if e["step"] == t:
                optimizer.param_groups[e["group"]] |= _options({e["key"]: e["value"]})
        for k, g in problem.at(t).items():
            params[k].grad = None if g is None else torch.from_numpy(np.array(g))
        try:
            optimizer.step()
        except Exception as error:
            result.error = f"{type(error).__name__} at step {t}"
            return result
        result.params.append({k: x.detach().numpy().copy() for k, x in params.items()})
        if t + 1 == case.get("saved"):
            result.saved, result.saved_groups = _state(optimizer, params), _groups(optimizer)
    result.state = _state(optimizer, params)
    return result


def _options(options: dict[str, Any]) -> dict[str, Any]:
    return {
        k: decode(v, lambda data, dtype: torch.tensor(data, dtype=getattr(torch, dtype)))
        for k, v in options.items()
    }


def _groups(optimizer: Any) -> list[dict[str, Any]]:
    return [
        {k: encode(v) for k, v in group.items() if k != "params"}
        for group in copy.deepcopy(optimizer.param_groups)
    ]


def _state(optimizer: Any, params: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    return {
        k: {name: x.numpy().copy() for name, x in optimizer.state[p].items() if x is not None}
        for k, p in params.items()
        if optimizer.state.get(p)
    }
