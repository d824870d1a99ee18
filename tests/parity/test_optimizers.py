"""Configurations of torch's tests, edges and random cases, on gradients of a fresh seed."""

import jax
import pytest

from ..golden import configurations, in_jax, in_torch
from ..golden.compare import compared_steps, differences, kept, same_counts, tolerance
from ..golden.edges import EDGES
from ..golden.exceptions import is_excepted
from ..golden.fuzz import fuzz
from ..golden.problem import make_problem
from .conftest import SEED

CASES = [*configurations.configurations(), *EDGES, *fuzz(SEED, 10)]


def name_of(case):
    parts = case["optimizer"], case["problem"], case["dtype"], case["origin"]
    return "-".join(parts).replace(" ", "_")


def problem_of(case):
    return make_problem(case["problem"], case["dtype"], SEED)


@pytest.mark.parametrize("case", [c for c in CASES if not is_excepted(c)], ids=name_of)
def test_a_run_is_torchs(case, note):
    problem = problem_of(case)
    golden = in_torch.run(case, problem)
    with jax.enable_x64(case["dtype"] != "float32"):
        ours = in_jax.run(case, problem)
        runs = [ours, in_jax.run(case, problem, golden)] if "saved" in case else [ours]
    for run in runs:
        for what, error in differences(case, problem, run, golden):
            note(case, error, tolerance(case, what), what)
            assert error <= 10 * tolerance(case, what), what  # fresh numbers may cancel
        assert same_counts(case, run, golden)
        if compared_steps(case) == case["steps"]:
            assert kept(run) == kept(golden)


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
