"""Every rule of the package passes the kit."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim.testing import (
    CHECKS,
    check_quadratic,
    check_rosenbrock,
    check_transformation,
)
from functional_optim.testing.case import DTYPES

from ..rules import REPRESENTATIVES, cases, cases_with_extra, each_of, master, plain, unchained
from ..rules.training import NO_DESCENT, TRAINING

# Variants of a factory differ in their maths, which has an oracle, and in what core/ tests.
PLAIN = plain(cases() + cases_with_extra())
FACTORIES = {case.name: case.factory for case in cases() + cases_with_extra()}
DESCENTS = {"quadratic": (check_quadratic, 2_000), "rosenbrock": (check_rosenbrock, 10_000)}


# An optimizer that is a chain of links has no maths or state of its own. Its links pass the kit,
# and so do the chains of the table; of the optimizer, the kit looks at what `init` makes.
OF_A_CHAIN = dict.fromkeys(set(CHECKS) - {"shapes"}, "its links pass it, and so do chains")
UNCHAINED = {case.name for case in unchained(PLAIN)}

# These are made of links that pass the kit as well: two are chains, which hand on what their links
# need, as `polyak_sgd` does; and three are links for matrices and Adam for the others, as `muon`.
LIKE_ANOTHER = {"adamuon", "lbfgs", "normuon", "soap", "sophia"}

# Rules that represent no kind are run by the same engine as those that do. These checks compile a
# program of a rule, or look at what no rule decides; for every rule, a test elsewhere looks at the
# same.
BY_THE_ENGINE = {
    "checkpoint": "serialization/test_every_rule.py",
    "donation": "its state has the dtypes and shapes of the one before: check_state",
    "jit": "algorithms/test_oracles.py compares jitted updates with independent ones",
    "new_hyperparams": "core/test_program.py",
    "pickling": "core/test_protocol.py",
    "recompilation": "its state has the dtypes and shapes of the one before: check_state",
    "scan": "its state has the dtypes and shapes of the one before: check_state",
    "sharding": "sharding/test_types.py",
    "state_pickling": "its state is of the engine's containers",
    "vmap": "core/test_transport.py",
    "vmap_hyperparams": "core/test_transport.py",
}

# For every variant of every link, this file takes derivatives where the gradients are zero.
OF_A_LINK = dict.fromkeys(
    ("differentiation", "hyperparam_derivatives"), "core/test_differentiation.py"
)

# Of every rule that takes gradients and parameters alone, this file runs a leaf without both.
WITHOUT_GRADIENTS = dict.fromkeys(("none_gradients", "none_parameters"), "core/test_transport.py")


def left_out(case):
    """Returns the checks that a case need not pass here, with the reasons."""
    if case.name not in UNCHAINED - LIKE_ANOTHER:
        return {**case.leave_out, **OF_A_CHAIN}
    if case.oracle is None or case.name in REPRESENTATIVES:
        return case.leave_out
    elsewhere = OF_A_LINK if hasattr(case.factory, "spec") else {}
    if case.extra is None and case.factory is not fo.scale_by_dog:  # which that file cannot compare
        elsewhere = elsewhere | WITHOUT_GRADIENTS
    return {**case.leave_out, **BY_THE_ENGINE, **elsewhere}


def dtypes_of(case):
    """Returns the dtypes that a case is checked with.

    The engine treats bfloat16 and float16 in the same way, and float16 has the smaller range.
    Rules that keep the remainder of a narrow parameter are made for bfloat16. In float32 and in
    float64, algorithms/test_oracles.py compares the updates with independent ones. There the state
    is the carry of a scan in float32; and one that lost float64 would miss the tolerance. The
    maths of a narrow parameter is in float32, so that float16 has its zero gradients too.
    """
    whole = case.oracle is None or case.name in REPRESENTATIVES
    keeps_rests = case.factory in [entry.factory for entry in master.RULES]
    if whole or keeps_rests:
        return DTYPES
    left_out = {"bfloat16"} if case.extra else {"bfloat16", "float32", "float64"}
    return tuple(d for d in DTYPES if d not in left_out)


@each_of(PLAIN)
def test_a_rule_passes_the_kit(case):
    check_transformation(
        case.make(), extra=case.extra, dtypes=dtypes_of(case), leave_out=left_out(case)
    )


def test_an_optimizer_is_left_out_only_if_all_its_links_are_in_the_kit():
    chained = {case.name for case in PLAIN} - UNCHAINED
    assert chained >= {"adamw", "rmsprop", "yogi"}
    assert not chained & {"muon", "schedule_free_sgd", "adam_hd", "mechanize", "sophia"}


def test_representatives_are_rules_with_an_oracle():
    assert {case.name for case in PLAIN if case.oracle} >= REPRESENTATIVES


LARGE = {"w": jnp.linspace(-1, 1, 1024).reshape(16, 64), "b": jnp.ones(8)}
MANY_SMALL = {
    "a": [jnp.array([[0.1, 0.2], [0.3, -0.4]]) * i for i in range(1, 6)],
    "b": jnp.ones(5),
}

# On the small parameters of the kit these keep their slots as any rule does.
OF_LARGE_OR_MANY = {
    "8bit": (fo.low_bit_state(fo.adam(1e-3), min_size=256), LARGE, ("bfloat16", "float32")),
    "bfloat16 at random": (
        fo.low_bit_state(fo.adam(1e-3), "bfloat16", key=0, min_size=256),
        LARGE,
        ("bfloat16", "float32"),
    ),
    "packed": (fo.packed(fo.lamb(1e-2), 4), MANY_SMALL, ("bfloat16",)),
}


@pytest.mark.parametrize("name", OF_LARGE_OR_MANY)
def test_slots_in_another_form_pass_the_kit(name):
    tx, params, dtypes = OF_LARGE_OR_MANY[name]
    check_transformation(tx, params=params, dtypes=dtypes)


def test_the_estimate_of_a_diagonal_passes_the_kit():
    def obj_fn(params):
        return sum((jnp.sum(jnp.square(jnp.abs(x))) for x in jax.tree.leaves(params)), start=0.0)

    check_transformation(
        fo.contrib.hutchinson_estimator_diag_hessian(),
        extra={"obj_fn": obj_fn},
        leave_out={
            "traces": "it differentiates the whole loss",
            "none_gradients": "the estimate is of all parameters, whatever the gradients",
            "lowering": "it is of the operations of the loss",
        },
    )


# algorithms/test_published.py asks more of every optimizer, with these arguments: to solve a
# parabola, and Rosenbrock's function in as many steps. Here are kinds of optimizers, and those
# of which it asks less.
DESCENDING = ("adam", "muon", "schedule_free_adamw", "cocob", "lbfgs", "signum", *NO_DESCENT)


@pytest.mark.parametrize("function", DESCENTS)
@pytest.mark.parametrize("name", DESCENDING)
def test_an_optimizer_descends(name, function):
    if reason := NO_DESCENT.get(name, {}).get(function):
        pytest.skip(reason)
    check, steps = DESCENTS[function]
    check(FACTORIES[name](**TRAINING[name]), steps=steps)
