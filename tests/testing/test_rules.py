"""Every rule of the package passes the kit."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim.testing import check_quadratic, check_rosenbrock, check_transformation

from ..rules import cases, cases_with_extra
from ..rules.training import NO_DESCENT, TRAINING

# Variants of a factory differ in their maths, which has an oracle, and in what core/ tests.
PLAIN = [
    case
    for case in cases() + cases_with_extra()
    if "-" not in case.name or case.name.startswith("chain-")
]
FACTORIES = {case.name: case.factory for case in PLAIN}
DESCENTS = {"quadratic": (check_quadratic, 2_000), "rosenbrock": (check_rosenbrock, 10_000)}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in PLAIN])
def test_a_rule_passes_the_kit(case):
    check_transformation(case.make(), extra=case.extra, leave_out=case.leave_out)


def test_the_estimate_of_a_diagonal_passes_the_kit():
    def obj_fn(params):
        return sum((jnp.sum(jnp.square(jnp.abs(x))) for x in jax.tree.leaves(params)), start=0.0)

    check_transformation(
        fo.contrib.hutchinson_estimator_diag_hessian(),
        extra={"obj_fn": obj_fn},
        leave_out={
            "traces": "it differentiates the whole loss",
            "none_gradients": "the estimate is of all parameters, whatever the gradients",
        },
    )


@pytest.mark.parametrize("function", DESCENTS)
@pytest.mark.parametrize("name", TRAINING)
def test_an_optimizer_descends(name, function):
    if reason := NO_DESCENT.get(name, {}).get(function):
        pytest.skip(reason)
    check, steps = DESCENTS[function]
    check(FACTORIES[name](**TRAINING[name]), steps=steps)
