"""No class without golden runs, no case that is passed over in silence."""

from ..golden.cases import DTYPES
from ..golden.exceptions import EXCEPTIONS
from .test_golden import CASES, COMPARED, SAVED

CONFIGURATIONS = {
    "Adadelta": 6,
    "Adafactor": 5,
    "Adagrad": 7,
    "Adam": 5,
    "AdamW": 5,
    "Adamax": 5,
    "ASGD": 7,
    "LBFGS": 7,
    "Muon": 9,
    "NAdam": 7,
    "RAdam": 6,
    "RMSprop": 8,
    "Rprop": 5,
    "SGD": 9,
    "SparseAdam": 4,
}
"""As many as torch 2.15 has in its own tests, for the processor."""


def key(case):
    return case["optimizer"], case["origin"]


def test_every_exception_is_a_case():
    assert set(EXCEPTIONS) <= {key(case) for case in CASES}


def test_every_case_is_compared_or_excepted():
    torch_raises = {key(case) for case in CASES if case["run"]["error"]}
    assert torch_raises <= set(EXCEPTIONS)
    seen = {(case["optimizer"], case["id"]) for case in COMPARED}
    assert {key(c) for c in CASES if (c["optimizer"], c["id"]) not in seen} == set(EXCEPTIONS)


def test_every_configuration_of_torchs_tests_is_covered_in_every_dtype():
    found = {}
    for case in CASES:
        if case["origin"].startswith("torch: "):
            found.setdefault((case["optimizer"], case["dtype"]), set()).add(case["origin"])
    counts = {k: len(origins) for k, origins in found.items()}
    assert counts == {(k, d): CONFIGURATIONS[k] for k, dtypes in DTYPES.items() for d in dtypes}


def test_every_class_resumes_from_a_state_of_torch():
    assert {case["optimizer"] for case in SAVED} == set(DTYPES)
