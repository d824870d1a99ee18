"""A scheduler's state is loaded into torch and back, and the run continues."""

import copy

import numpy as np
import pytest

from ..golden.sched_cases import METRICS
from ..golden.sched_exceptions import reason
from ..golden.sched_grid import COMPOSITES, PLATEAUS, grid
from ..golden.sched_in_jax import OURS
from ..golden.sched_in_torch import TORCH

ONE_OF_EACH = {spec["scheduler"]: spec for spec in reversed(grid())}.values()
SPECS = [*ONE_OF_EACH, *(c[0] for c in COMPOSITES if len(c) == 1), PLATEAUS[2]]
BEYOND = "the cycle goes beyond its end, and then raises"


def is_followed(spec):
    why = reason({"schedulers": [spec], "driver": "step", "at": 0})
    return why in (None, BEYOND)


def run(side, optimizer, scheduler, steps):
    rates = []
    for t in steps:
        side.step(optimizer)
        scheduler.step(*[METRICS["stairs"][t]] * hasattr(scheduler, "num_bad_epochs"))
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
    return rates


def moved(spec, side, optimizer, scheduler):
    """Returns the same optimizer and scheduler on the other side."""
    other = side.make_optimizer("sgd")
    theirs = side.make_scheduler(other, spec)
    theirs.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    for new, old in zip(other.param_groups, optimizer.param_groups, strict=True):
        new.update({k: v for k, v in old.items() if k != "params"})
    return other, theirs


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
@pytest.mark.parametrize("spec", [*filter(is_followed, SPECS)], ids=lambda s: s["scheduler"])
def test_a_run_goes_on_in_the_other_library(spec):
    ours = OURS.make_optimizer("sgd")
    ours = ours, OURS.make_scheduler(ours, spec)
    run(OURS, *ours, range(7))
    theirs = moved(spec, TORCH, *ours)
    golden = run(TORCH, *theirs, range(7, 22))
    np.testing.assert_allclose(run(OURS, *ours, range(7, 22)), golden, rtol=1e-11)
    back = moved(spec, OURS, *theirs)
    golden = run(TORCH, *theirs, range(22, 38))
    np.testing.assert_allclose(run(OURS, *back, range(22, 38)), golden, rtol=1e-11)
