"""Configurations of torch's tests, edges and random cases, on gradients of a fresh seed."""

import jax
import pytest

from ..golden import in_jax, in_torch
from ..golden.cases import DTYPES
from ..golden.compare import differences, is_excepted, kept, tolerance
from ..golden.edges import EDGES
from ..golden.fuzz import fuzz
from ..golden.problem import make_problem
from .conftest import SEED

CASES = [*in_torch.configurations(), *EDGES, *fuzz(SEED, 10)]
PROBLEMS = {dtype: make_problem(dtype, SEED + i) for i, dtype in enumerate(DTYPES)}


def name_of(case):
    return f"{case['optimizer']}-{case['dtype']}-{case['origin'].replace(' ', '_')}"


@pytest.mark.parametrize("case", [c for c in CASES if not is_excepted(c)], ids=name_of)
def test_a_run_is_torchs(case, note):
    problem = PROBLEMS[case["dtype"]]
    golden = in_torch.run(case, problem)
    with jax.enable_x64(case["dtype"] != "float32"):
        ours = in_jax.run(case, problem)
        runs = [ours, in_jax.run(case, problem, golden)] if "saved" in case else [ours]
    for run in runs:
        for what, error in differences(run, golden, case["dtype"]):
            note(case["optimizer"], case["dtype"], error, f"{case['origin']}, {what}")
            assert error <= 10 * tolerance(what, case["dtype"]), what  # fresh numbers may cancel
        assert kept(run) == kept(golden)


def test_an_exception_is_still_one():
    """Where torch is mended, the exception can go."""
    for case in filter(is_excepted, EDGES):
        run = in_torch.run(case, PROBLEMS[case["dtype"]])
        finite = all((x == x).all() for step in run.params for x in step.values())
        assert run.error is not None or not finite, case["origin"]
