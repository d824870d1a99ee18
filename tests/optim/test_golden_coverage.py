"""No class without golden runs, no case that is passed over in silence."""

from functional_optim import optim
from functional_optim.optim.torch_class import TorchOptimizer

from ..golden.cases import DTYPES
from ..golden.compare import EXCEPTIONS
from .test_golden import CASES, COMPARED

WITHOUT = {"Lion": "torch has none"}


def key(case):
    return case["optimizer"], case["origin"]


def test_every_exception_is_a_case():
    assert set(EXCEPTIONS) <= {key(case) for case in CASES}


def test_every_case_is_compared_or_excepted():
    torch_raises = {key(case) for case in CASES if case["run"]["error"]}
    assert torch_raises <= set(EXCEPTIONS)
    excepted = [case["id"] for case in CASES if key(case) in EXCEPTIONS]
    assert sorted([case["id"] for case in COMPARED] + excepted) == sorted(
        case["id"] for case in CASES
    )


def test_every_class_has_torchs_configurations_in_every_dtype():
    classes = {k for k in optim.__all__ if issubclass_of_torch(getattr(optim, k))} - set(WITHOUT)
    found = {}
    for case in CASES:
        if case["origin"].startswith("torch: "):
            found.setdefault((case["optimizer"], case["dtype"]), set()).add(case["origin"])
    assert set(found) == {(k, dtype) for k in classes for dtype in DTYPES}
    least = {"SGD": 9, "Adam": 5, "AdamW": 5, "RMSprop": 8}  # as many as torch 2.13 has
    assert {k: min(len(found[k, d]) for d in DTYPES) for k in classes} == least


def issubclass_of_torch(value):
    return isinstance(value, type) and issubclass(value, TorchOptimizer)
