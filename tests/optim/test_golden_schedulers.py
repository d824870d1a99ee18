"""The schedulers of torch.optim against runs of torch 2.15 in `tests/golden`."""

import collections
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ..golden.sched_cases import cases
from ..golden.sched_exceptions import REASONS, compared, reason
from ..golden.sched_in_jax import OURS
from ..golden.sched_run import FIELDS, table
from ..golden.sched_store import read

CASES = read()
BY_ID = {case["id"]: case for case in CASES}

TOLERANCE = {"float32": 2e-6}
"""Where the rates are arrays of float32; else 1e-12."""


def name_of(case):
    names = "_".join(spec["scheduler"] for spec in case["schedulers"])
    return f"{case['id']}-{names}-{case['optimizer']}-{case['driver']}"


@pytest.fixture(autouse=True)
def precision(request):
    """Enables float64 where the rates are arrays of it."""
    case = request.node.callspec.params["case"] if hasattr(request.node, "callspec") else {}
    with jax.enable_x64(case.get("optimizer") == "float64"):
        yield


def play(case):
    """Returns our track of a case, which is played once for all tests of it."""
    return played(case["id"])


@functools.cache
def played(number):
    """Plays a case."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "OneCycleLR: the cycle has")
        return OURS.play(BY_ID[number])


def only_stepped(case):
    """Returns the case of the same schedulers that are only stepped."""
    keys = ("schedulers", "optimizer", "metrics")
    (plain,) = (
        c for c in CASES if c["driver"] == "step" and all(c.get(k) == case.get(k) for k in keys)
    )
    return plain


def undisturbed(case):
    """Returns torch's learning rates of the same schedulers, only stepped."""
    plain = only_stepped(case)
    return plain["lr"][compared(plain)]


def close(ours, golden, case, message=""):
    rtol = TOLERANCE.get(case["optimizer"], 1e-12)
    np.testing.assert_allclose(ours, golden, rtol=rtol, atol=1e-16, err_msg=message)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_learning_rates_and_momenta_match_torch(case):
    track, steps = play(case), compared(case)
    assert case["error"] is None or reason(case)
    for field in FIELDS:
        ours = table(getattr(track, field))
        assert len(ours) == case["steps"] + 1
        golden = case[field][steps]
        close(ours[steps][: len(golden), : golden.shape[1]], golden, case, field)


def test_every_case_is_compared_or_listed():
    """Cases are as the script makes them now; each reason has cases, no more than are needed."""
    assert len(CASES) > 1200
    made = list(cases())
    assert [{k: c[k] for k in m} for c, m in zip(CASES, made, strict=True)] == made
    listed = collections.Counter(reason(c) for c in CASES)
    assert listed.keys() == {None, *REASONS}
    assert listed[None] > 1050
    for case in CASES:
        assert len(case["lr"][compared(case)]) == case["steps"] + 1 or reason(case)


def driven(driver, *classes):
    """Runs a test on the cases of a driver, of single schedulers of some classes."""
    chosen = [
        c
        for c in CASES
        if c["driver"] == driver
        and (not classes or (c["schedulers"][0]["scheduler"] in classes and reason(c)))
    ]
    return pytest.mark.parametrize("case", chosen, ids=name_of)


@driven("last_epoch")
def test_a_continued_run_is_the_uninterrupted_one(case):
    close(play(case).lr, play(only_stepped(case)).lr, case)


PROPORTIONAL = ("LambdaLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts")
"""A group that is added has its rate of this epoch; the cosines have one at its floor here."""


@driven("add_group", *PROPORTIONAL, "MultiplicativeLR", "SWALR")
def test_an_added_group_follows_from_its_own_rate(case):
    spec, rates = case["schedulers"][0], table(play(case).lr)
    golden = undisturbed(case)
    close(rates[:, :2], golden, case)
    floor = np.ravel(spec.get("eta_min", spec.get("swa_lr", 0.0)))[-1]
    then = 0.5 if spec["scheduler"] in PROPORTIONAL else golden[5, 1]
    ratio = (0.7 - floor) / (then - floor) if then != floor else 0.0
    close(rates[6:, 2], floor + ratio * (golden[6:, 1] - floor), case)


@driven("add_group", "CyclicLR", "OneCycleLR")
def test_an_added_group_cycles_as_the_last(case):
    track, golden = play(case), undisturbed(case)
    rates, momenta = table(track.lr), table(track.momentum)
    close(rates[: len(golden), :2], golden, case)
    np.testing.assert_array_equal(rates[6:, 2], rates[6:, 1])
    if case["schedulers"][0].get("cycle_momentum", True):
        np.testing.assert_array_equal(momenta[6:, 2], momenta[6:, 1])


NO_EPOCHS = [c for c in CASES if c["schedulers"][0].get("total_iters") == 0]


@pytest.mark.parametrize("case", [c for c in NO_EPOCHS if c["driver"] == "step"], ids=name_of)
def test_a_phase_of_no_epochs_is_over(case):
    end = case["schedulers"][0].get("end_factor", 1.0)
    rates = np.array(play(case).lr)
    expected = end * np.array([[0.05, 0.5]])
    np.testing.assert_allclose(rates, np.broadcast_to(expected, rates.shape), rtol=1e-6)


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c["driver"] == "step" and (reason(c) or "").startswith("the factor")],
    ids=name_of,
)
def test_the_factor_zero_ends(case):
    n = case["schedulers"][0]["total_iters"]
    assert play(case).lr == [[0.0, 0.0]] * n + [[0.05, 0.5]] * (41 - n)


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c["driver"] == "step" and c["schedulers"][0]["scheduler"] == "OneCycleLR"],
    ids=name_of,
)
def test_the_last_value_of_one_cycle_stays(case):
    spec, track = case["schedulers"][0], play(case)
    last = spec.get("total_steps", 40) - 1
    assert track.lr[last:] == track.lr[last : last + 1] * (41 - last)
    assert track.momentum[last:] == track.momentum[last : last + 1] * (41 - last)
    div, final = spec.get("div_factor", 25.0), spec.get("final_div_factor", 1e4)
    peaks = np.broadcast_to(spec["max_lr"], 2)
    close(track.lr[-1], peaks / (div * final), case)


@pytest.mark.parametrize("case", [c for c in CASES if c["states"]], ids=name_of)
def test_state_dict_has_torchs_names_and_loads_torchs(case):
    track, optimizer = play(case), OURS.make_optimizer(case["optimizer"])
    if case["driver"] == "add_group":
        optimizer.add_param_group({"params": [jnp.ones(9)], "lr": 0.7})
    pairs = zip(case["schedulers"], track.states, case["states"], strict=True)
    for spec, ours, theirs in pairs:
        if not reason(case):
            assert names(ours) == names(theirs)
        scheduler = OURS.make_scheduler(optimizer, spec)
        scheduler.load_state_dict(theirs)
        assert names(scheduler.state_dict()) == names(ours)
        assert scheduler.get_last_lr() == theirs["_last_lr"]
        assert getattr(scheduler, "last_epoch", None) == theirs.get("last_epoch")
    close([scheduler.get_last_lr()], case["last_lr"][-1:], case)


OF_TORCH_ALONE = {"_is_initial", "_get_lr_called_within_step"}


def names(state):
    """Returns the names of the entries, in depth."""
    inner = [names(s) for s in state.get("_schedulers", ())]
    # A composite within another has a count in torch that it does not use.
    own = {*state} - OF_TORCH_ALONE - ({"_step_count"} if inner else set())
    return sorted(own), inner
