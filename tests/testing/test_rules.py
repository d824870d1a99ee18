"""Every rule of the package passes the kit."""

import pytest

import functional_optim as fo
from functional_optim.testing import check_transformation

from ..rules import Case, cases, cases_with_extra

COMPILED = dict.fromkeys(
    [
        "checkpoint",
        "differentiation",
        "hyperparam_derivatives",
        "jit",
        "lowering",
        "new_hyperparams",
        "recompilation",
        "sharding",
        "vmap",
        "vmap_hyperparams",
    ],
    "compiles, and the links that it is made of are compiled",
)

NAMED = {"empty_trees": "labels name leaves, which must be there"}

WHOLE = {"traces": "its maths is of the whole tree, and grows with it"}

GUARDED = {"traces": "it looks at each array of the updates and of the state"}

LEFT_OUT = {
    fo.apply_if_finite: GUARDED,
    fo.masked: NAMED,
    fo.freeze: NAMED,
    fo.selective_transform: NAMED,
    fo.scale_by_lbfgs: WHOLE,
    fo.lbfgs: WHOLE,
    fo.scale_by_backtracking_linesearch: WHOLE,
    fo.scale_by_zoom_linesearch: WHOLE,
    fo.flatten: {"none_gradients": "one vector has one clock, and None is refused"},
    fo.partition: NAMED | {"none_parameters": "labels name leaves, which must be there"},
}


def left_out(case: Case) -> dict[str, str]:
    """Checks that a case need not pass, and why."""
    optimizer = "learning_rate" in case.arguments and not hasattr(case.factory, "rule")
    return LEFT_OUT.get(case.factory, {}) | (COMPILED if optimizer else {})


# Variants of a factory differ in their maths, which has an oracle, and in what core/ tests.
PLAIN = [
    case
    for case in cases() + cases_with_extra()
    if "-" not in case.name or case.name.startswith("chain-")
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in PLAIN])
def test_a_rule_passes_the_kit(case):
    check_transformation(case.make(), extra=case.extra, leave_out=left_out(case))
