"""Every class of torch.optim, step by step, against runs of torch 2.13 in `tests/golden`."""

import jax
import pytest

from ..golden import in_jax, store
from ..golden.compare import differences, is_excepted, kept, tolerance

CASES, ARRAYS, PROBLEMS = store.read("optimizers")


def name_of(case):
    return f"{case['id']}-{case['dtype']}-{case['origin'].replace(' ', '_')}"


COMPARED = [case for case in CASES if not is_excepted(case)]
SAVED = [case for case in COMPARED if "saved" in case]


def assert_same_run(case, golden, ours, steps):
    assert len(ours.params) == steps
    for what, error in differences(ours, golden, case["dtype"]):
        assert error <= tolerance(what, case["dtype"]), what
    assert kept(ours) == kept(golden)


@pytest.fixture(autouse=True)
def precision(request):
    """Float64 where the case has it."""
    with jax.enable_x64(request.getfixturevalue("case")["dtype"] != "float32"):
        yield


@pytest.mark.parametrize("case", COMPARED, ids=name_of)
def test_parameters_and_state_are_torchs(case):
    problem = PROBLEMS[case["dtype"]]
    golden = store.put_together(case, ARRAYS, problem)
    assert golden.error is None, "torch raised: list the case in EXCEPTIONS"
    assert_same_run(case, golden, in_jax.run(case, problem), case["steps"])


@pytest.mark.parametrize("case", SAVED, ids=name_of)
def test_a_state_dict_of_torch_goes_on_here(case):
    problem = PROBLEMS[case["dtype"]]
    golden = store.put_together(case, ARRAYS, problem)
    ours = in_jax.run(case, problem, golden)
    assert_same_run(case, golden, ours, case["steps"] - case["saved"])


@pytest.mark.parametrize("case", COMPARED[::7], ids=name_of)
def test_options_are_filled_in_as_in_torch(case):
    groups = in_jax.make(case, PROBLEMS[case["dtype"]].start).param_groups
    for group, golden in zip(groups, case["run"]["groups"], strict=True):
        expected = in_jax.options(golden)
        if case["optimizer"] == "AdamW":
            expected.pop("decoupled_weight_decay")  # there an Adam with the flag
        assert group.options == expected
