"""The configurations of torch's own tests; needs torch."""

import sys
import types
import unittest
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from .cases import DTYPES, PROBLEMS, Case, case, second_group
from .in_torch import encode, precision
from .losses import HILL, LOSSES


def configurations() -> Iterator[Case]:
    """Yields every configuration of torch's tests, in every dtype that torch has it for."""
    for info in database():
        for dtype in DTYPES[info.name]:
            with precision(dtype):
                for given in info.optim_inputs_func(device="cpu"):
                    kwargs = {k: encode(v) for k, v in given.kwargs.items()}
                    for problem in _problems(info, given, dtype):
                        yield _case(info.name, given.desc, kwargs, problem) | {"dtype": dtype}


def database() -> list[Any]:
    """Returns the options with which torch's own tests make each class."""
    # It imports packages for testing, which nothing here needs, and warns of one more.
    stand_in = types.ModuleType("expecttest")
    stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
    sys.modules.setdefault("expecttest", stand_in)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_optimizers import optim_db

    return list(optim_db)


def _problems(info: Any, given: Any, dtype: str) -> tuple[str, ...]:
    if info.name == "LBFGS" and given.kwargs.get("maximize"):
        return (HILL,)
    if info.name == "LBFGS":
        return LOSSES if dtype == "float64" else LOSSES[:1]
    usual = (PROBLEMS.get(info.name, "small"),)
    sparse = info.supports_sparse and "weight_decay" not in given.kwargs and dtype != "complex128"
    return (*usual, "rows") if sparse else usual


def _case(name: str, described: str, kwargs: dict[str, Any], problem: str) -> Case:
    made = getattr(torch.optim, name)([torch.zeros(1, 1)])
    overrides = {} if name == "LBFGS" else second_group(kwargs, made.defaults)
    if problem == "rows":
        overrides.pop("weight_decay", None)  # of a sparse gradient, torch has none
    return case(name, f"torch: {described}", kwargs, overrides) | {"problem": problem}
