"""The schedulers' cases, live."""

import warnings

import jax
import numpy as np
import pytest

from ..golden.sched_cases import cases
from ..golden.sched_in_jax import OURS
from ..golden.sched_in_torch import TORCH

TOLERANCE = {"float32": 2e-6}


def is_compared(case):
    """All but the two defects of torch; the golden tests say what ours does there."""
    (spec, *_), driver = case["schedulers"], case["driver"]
    twice = driver == "last_epoch" and case["at"] % spec.get("step_size", 1000) == 0
    raises = driver == "add_group" and spec["scheduler"] != "StepLR"
    return not twice and not raises


COMPARED = [case for case in cases() if is_compared(case)]


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case["driver"])
def test_learning_rates_are_torchs(case, note):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # step(epoch) is deprecated there
        theirs = TORCH.play(case)
    with jax.enable_x64(case["optimizer"] == "float64"):
        ours = OURS.play(case)
    for mine, golden in zip(ours[:2], theirs[:2], strict=True):
        for t, (a, b) in enumerate(zip(mine, golden, strict=True)):
            error = float(np.max(np.abs(np.subtract(a, b)) / (np.abs(b) + 1e-15)))
            note(case["schedulers"][0]["scheduler"], case["optimizer"], error, f"step {t}")
            assert error <= TOLERANCE.get(case["optimizer"], 1e-12), t
