"""Every class of torch.optim, step by step, against runs of torch 2.15 in `tests/golden`."""

import jax
import pytest

from ..golden import in_jax, store
from ..golden.cases import DTYPES
from ..golden.compare import compared_steps, differences, kept, same_counts, tolerance
from ..golden.exceptions import is_excepted
from ..golden.problem import make_problem

FILES = {name: store.read(name) for name in DTYPES}
CASES = [case for cases, _ in FILES.values() for case in cases]


def name_of(case):
    parts = case["optimizer"], case["id"], case["problem"], case["dtype"], case["origin"]
    return "-".join(parts).replace(" ", "_")


COMPARED = [case for case in CASES if not is_excepted(case)]
SAVED = [case for case in COMPARED if "saved" in case]


def read(case):
    """Returns the problem of a case, and torch's run."""
    problem = make_problem(case["problem"], case["dtype"])
    vector = FILES[case["optimizer"]][1][case["id"]]
    return problem, store.put_together(case, vector, problem)


def assert_same_run(case, problem, golden, ours, steps):
    assert len(ours.params) == steps
    for what, error in differences(case, problem, ours, golden):
        assert error <= tolerance(case, what), what
    assert same_counts(case, ours, golden)
    if compared_steps(case) == case["steps"]:
        assert kept(ours) == kept(golden)


@pytest.fixture(autouse=True)
def precision(request):
    """Enables float64 where the case has it."""
    if "case" not in request.fixturenames:
        yield
        return
    with jax.enable_x64(request.getfixturevalue("case")["dtype"] != "float32"):
        yield


@pytest.mark.parametrize("case", COMPARED, ids=name_of)
def test_parameters_and_state_match_torch(case):
    problem, golden = read(case)
    assert golden.error is None, "torch raised: list the case in EXCEPTIONS"
    assert_same_run(case, problem, golden, in_jax.run(case, problem), case["steps"])


@pytest.mark.parametrize("case", SAVED, ids=name_of)
def test_a_run_resumed_from_torch_matches_torch(case):
    problem, golden = read(case)
    ours = in_jax.run(case, problem, golden)
    assert_same_run(case, problem, golden, ours, case["steps"] - case["saved"])


@pytest.mark.parametrize("name", FILES)
def test_defaults_match_torch(name):
    case = FILES[name][0][0] | {"kwargs": {}}
    expected = in_jax.options(case["run"]["defaults"])
    if "foreach" in expected:
        expected["foreach"] = None  # the runs are without
    if name == "AdamW":
        expected.pop("decoupled_weight_decay")  # there an Adam with the flag
    assert in_jax.make(case, read(case)[0]).defaults == expected
