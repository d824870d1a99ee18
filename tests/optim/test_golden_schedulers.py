"""The schedulers of torch.optim against runs of torch 2.13 in `tests/golden`."""

import json

import jax
import numpy as np
import pytest

from ..golden.sched_cases import arguments
from ..golden.sched_in_jax import OURS
from ..golden.store import HERE

CASES = json.loads((HERE / "schedulers.json").read_text(encoding="utf-8"))
with np.load(HERE / "schedulers.npz") as file:
    ARRAYS = dict(file)

TOLERANCE = {"float32": 2e-6}
"""Where the rates are arrays of float32; else 1e-12."""


def name_of(case):
    names = "_".join(spec["scheduler"] for spec in case["schedulers"])
    return f"{case['id']}-{names}-{case['optimizer']}-{case['driver']}"


def decays_twice(case):
    """torch multiplies by gamma once more where a run is continued at a boundary."""
    spec = case["schedulers"][0]
    return case["driver"] == "last_epoch" and case["at"] % spec.get("step_size", 1000) == 0


def raises(case):
    """torch's schedulers with a list of rates do not accept a group that is added."""
    return case["driver"] == "add_group" and case["schedulers"][0]["scheduler"] != "StepLR"


TWICE = [case for case in CASES if decays_twice(case)]
RAISES = [case for case in CASES if raises(case)]
COMPARED = [case for case in CASES if not decays_twice(case) and not raises(case)]


@pytest.fixture(autouse=True)
def precision(request):
    """Float64 where the rates are arrays of it."""
    with jax.enable_x64(request.getfixturevalue("case")["optimizer"] == "float64"):
        yield


def play(case):
    rates, last, states = OURS.play(case)
    n = max(map(len, rates))
    return *(np.array([r + [np.nan] * (n - len(r)) for r in x]) for x in (rates, last)), states


def undisturbed(case):
    """The learning rates of the same schedulers, only stepped."""
    keys = ("schedulers", "optimizer")
    (plain,) = (c for c in CASES if c["driver"] == "step" and all(c[k] == case[k] for k in keys))
    return ARRAYS[f"{plain['id']}/lr"]


@pytest.mark.parametrize("case", COMPARED, ids=name_of)
def test_learning_rates_are_torchs(case):
    assert case["error"] is None
    tolerance = {"rtol": TOLERANCE.get(case["optimizer"], 1e-12), "atol": 1e-16}
    rates, last, _ = play(case)
    np.testing.assert_allclose(rates, ARRAYS[f"{case['id']}/lr"], **tolerance)
    np.testing.assert_allclose(last, ARRAYS[f"{case['id']}/last_lr"], **tolerance)


@pytest.mark.parametrize("case", TWICE, ids=name_of)
def test_a_run_continued_at_a_boundary_decays_once(case):
    np.testing.assert_allclose(play(case)[0], undisturbed(case), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("case", RAISES, ids=name_of)
def test_an_added_group_follows_the_schedule_from_its_own_rate(case):
    assert case["error"] == "ValueError"
    rates, _, _ = play(case)
    np.testing.assert_allclose(rates[:, :2], undisturbed(case), rtol=1e-12, atol=1e-16)
    expected = [_at(arguments(case["schedulers"][0]), 0.7, t) for t in range(6, 41)]
    np.testing.assert_allclose(rates[6:, 2], expected, rtol=1e-12, atol=1e-15)


def _at(spec, initial, epoch):
    if "lr_lambda" in spec:
        functions = spec["lr_lambda"]
        return initial * (functions[-1] if isinstance(functions, list) else functions)(epoch)
    wave = (1 + np.cos(np.pi * epoch / spec["T_max"])) / 2
    return spec["eta_min"] + (initial - spec["eta_min"]) * wave


@pytest.mark.parametrize("case", COMPARED[::5], ids=name_of)
def test_state_dict_has_torchs_names_and_loads_torchs(case):
    _, last, states = play(case)
    optimizer = OURS.optimizer(case["optimizer"])
    for scheduler, ours, theirs in zip(
        OURS.build(optimizer, case["schedulers"]), states, case["state_dicts"], strict=True
    ):
        assert {k for k in theirs if k not in OF_TORCH_ALONE} == set(ours)
        n = len(optimizer.param_groups)
        scheduler.load_state_dict(theirs)
        assert scheduler.last_epoch == case["steps"]
        assert scheduler.base_lrs == pytest.approx(theirs["base_lrs"][:n], rel=1e-7)
    assert scheduler.get_last_lr() == pytest.approx(list(last[-1]), rel=2e-6)


OF_TORCH_ALONE = ("_is_initial", "_get_lr_called_within_step")
