"""Configurations of torch's tests, edges and random cases, on gradients of a fresh seed."""

import jax
import pytest

from functional_optim.interop.torch import to_torch

from ..golden import configurations, in_jax, in_torch
from ..golden.compare import compared_steps, differences, kept, same_counts, tolerance
from ..golden.edges import EDGES
from ..golden.exceptions import is_excepted
from ..golden.fuzz import fuzz
from ..golden.problem import make_problem
from ..optim.test_golden_coverage import CONFIGURATIONS
from .conftest import SEED
from .test_signatures import VERSION

CASES = [*configurations.configurations(), *EDGES, *fuzz(SEED, 10)]


def name_of(case):
    parts = case["optimizer"], case["problem"], case["dtype"], case["origin"]
    return "-".join(parts).replace(" ", "_")


def problem_of(case):
    return make_problem(case["problem"], case["dtype"], SEED)


def is_in_this_torch(case):
    """Tells whether the installed torch has the options of a case; older ones lack some."""
    kwargs = [case["kwargs"], case["overrides"], *({e["key"]: e["value"]} for e in case["events"])]
    if NEWEST:
        return True
    return not any(
        (case["optimizer"] == "LBFGS" and "maximize" in given)
        or given.get("adjust_lr_fn") == "spectral_unclamped"
        for given in kwargs
    )


NEWEST = VERSION >= (2, 14)
COMPARED = [case for case in CASES if not is_excepted(case) and is_in_this_torch(case)]


def assert_same_run(case, problem, run, golden, note):
    assert golden.error is None
    for what, error in differences(case, problem, run, golden):
        bound = tolerance(case, what)
        note(case["optimizer"], case["dtype"], error, f"{case['origin']}, {what}", bound)
        assert error <= 10 * bound, what  # fresh numbers may cancel
    assert same_counts(case, run, golden)
    if compared_steps(case) == case["steps"]:
        assert kept(run) == kept(golden)


@pytest.mark.parametrize("case", COMPARED, ids=name_of)
def test_matches_torch(case, note):
    problem = problem_of(case)
    golden = in_torch.run(case, problem)
    with jax.enable_x64(case["dtype"] != "float32"):
        ours = in_jax.run(case, problem)
    assert_same_run(case, problem, ours, golden, note)


@pytest.mark.parametrize("case", [c for c in COMPARED if "saved" in c], ids=name_of)
def test_a_state_crosses_over(case, note):
    problem = problem_of(case)
    golden = in_torch.run(case, problem)
    with jax.enable_x64(True):
        here = in_jax.run(case, problem, golden)
        params, state = in_jax.save(case, problem)
    names = [name for group in state["param_groups"] for name in group["param_names"]]
    there = in_torch.run(case, problem, (params, to_torch(state, names=names)))
    for run in (here, there):
        assert_same_run(case, problem, run, golden, note)


def test_an_exception_is_still_one():
    """Where torch is mended, the exception can go."""
    for case in filter(is_excepted, EDGES):
        problem = problem_of(case)
        golden = in_torch.run(case, problem)
        if golden.error is None:
            with jax.enable_x64(case["dtype"] != "float32"):
                run = in_jax.run(case, problem)
            errors = [error for _, error in differences(case, problem, run, golden)]
            assert max(errors) > 1e-3, case["origin"]


def test_torch_has_no_other_configurations():
    found = {x.name: len(x.optim_inputs_func(device="cpu")) for x in configurations.database()}
    if NEWEST:
        assert found == CONFIGURATIONS
    assert all(n <= CONFIGURATIONS[k] for k, n in found.items())
