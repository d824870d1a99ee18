"""The schedulers' cases, live: those of the golden file, and random ones."""

import warnings

import jax
import numpy as np
import pytest

from ..golden.sched_cases import cases
from ..golden.sched_exceptions import compared
from ..golden.sched_fuzz import fuzz
from ..golden.sched_in_jax import OURS
from ..golden.sched_in_torch import TORCH
from ..golden.sched_run import FIELDS, table
from .conftest import SEED

TOLERANCE = {"float32": 5e-6}
ERRORS = (ValueError, KeyError, ZeroDivisionError, NotImplementedError)


def name_of(case):
    return "-".join([*(s["scheduler"] for s in case["schedulers"]), case["driver"]])


@pytest.mark.parametrize("case", [*[*cases()][::3], *fuzz(SEED, 300)], ids=name_of)
def test_learning_rates_and_momenta_are_torchs(case, note):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # step(epoch) is deprecated there
        theirs = TORCH.play(case, ERRORS)
        with jax.enable_x64(case["optimizer"] == "float64"):
            ours = OURS.play(case)
    tolerance, steps = TOLERANCE.get(case["optimizer"], 1e-12), compared(case)
    for field in FIELDS:
        golden = table(getattr(theirs, field))[steps]
        mine = table(getattr(ours, field))[steps][: len(golden), : golden.shape[1]]
        # In float32 a rate carries the rounding of the largest that it has been.
        size = np.maximum.accumulate(golden) if tolerance > 1e-9 else golden
        # torch's formulas cancel near 0.
        error = np.nan_to_num(np.maximum(np.abs(mine - golden) - 1e-16, 0) / (size + 1e-300))
        assert np.array_equal(np.isnan(mine), np.isnan(golden))
        worst = float(np.max(error, initial=0.0))
        note(case["schedulers"][0]["scheduler"], case["optimizer"], worst, field)
        assert worst <= tolerance, field
