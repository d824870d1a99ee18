"""Numbers that make no sense are refused where they are given, and not as NaN in the parameters."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim.perturbations import make_perturbed_fun

from ..rules import Case, each_argument
from ..schedules.cases import CASES as SCHEDULES

NAN = float("nan")
LABELS = {"axis": "an axis, which init checks", "head_axis": "an axis, which init checks"}


def numbers_of_a_rule(case: Case):
    """Returns the numbers that are read; with optimize_1d no AdamW reads its own."""
    unused = case.name == "mars-all"
    return [k for k in case.numbers if k not in LABELS and not (unused and k.startswith("adam_"))]


@each_argument(numbers_of_a_rule)
def test_no_number_of_a_rule_may_be_nan(case: Case, name):
    with pytest.raises((TypeError, ValueError), match=rf"^\w+: {name} must be .*, got nan"):
        case.make(**{name: NAN})


def numbers_of_schedules():
    return {
        f"{case.name}-{name}": (case, name)
        for case in SCHEDULES
        for name, value in case.arguments.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


NUMBERS = numbers_of_schedules()


@pytest.mark.parametrize(("case", "name"), NUMBERS.values(), ids=NUMBERS)
def test_no_number_of_a_schedule_may_be_nan(case, name):
    with pytest.raises(ValueError, match=rf"^{case.name}: {name} must be .*, got nan"):
        case.make(**{name: NAN})


def test_a_hyperparameter_cannot_be_set_to_nan():
    tx = fo.add_decayed_weights(0.1)
    state = tx.init(jnp.ones(2))
    with pytest.raises(ValueError, match="set_hyperparams: weight_decay must be in"):
        fo.set_hyperparams(state, weight_decay=NAN, tx=tx)


TREE = {"w": jnp.ones(2)}
GRADS = {"w": jnp.ones((3, 2))}
X = jnp.ones((4, 3))
FUNCTIONS = [
    (lambda x: fo.incremental_update(TREE, TREE, x), "incremental_update: step_size", (-0.1, 1.5)),
    (lambda x: fo.periodic_update(TREE, TREE, 3, x), "periodic_update: update_period", (0, -1)),
    (lambda x: fo.smooth_labels(X, x), "smooth_labels: alpha", (-0.1, 1.5)),
    (lambda x: fo.ntxent(X, jnp.array([0, 0, 1, 1]), x), "ntxent: temperature", (0.0, -1.0)),
    (
        lambda x: fo.per_example_global_norm_clip(GRADS, x),
        "per_example_global_norm_clip: l2_norm_clip",
        (-1.0,),
    ),
    (
        lambda x: fo.per_example_layer_norm_clip(GRADS, x),
        "per_example_layer_norm_clip: global_l2_norm_clip",
        (-1.0,),
    ),
    (lambda x: make_perturbed_fun(abs, sigma=x), "make_perturbed_fun: sigma", (0.0, -1.0)),
    (lambda x: make_perturbed_fun(abs, x), "make_perturbed_fun: num_samples", (0, -1, 0.5)),
    (lambda x: fo.power_iteration(jnp.eye(2), num_iters=x), "power_iteration: num_iters", (-1,)),
    (
        lambda x: fo.power_iteration(jnp.eye(2), error_tolerance=x),
        "power_iteration: error_tolerance",
        (-1e-3,),
    ),
    *(
        (
            lambda x, name=name: fo.matrix_inverse_pth_root(jnp.eye(2), 4, **{name: x}),
            f"matrix_inverse_pth_root: {name}",
            (-1,),
        )
        for name in ("num_iters", "ridge_epsilon", "error_tolerance")
    ),
    (lambda x: fo.nnls(jnp.eye(2), jnp.ones(2), x), "nnls: iters", (-1, 0.5)),
]


@pytest.mark.parametrize(("call", "where", "bad"), FUNCTIONS, ids=[x[1] for x in FUNCTIONS])
def test_numbers_of_functions(call, where, bad):
    for value in (*bad, NAN):
        with pytest.raises((TypeError, ValueError), match=rf"^{where} must be .*, got {value}"):
            call(value)


def test_arrays_in_place_of_numbers_are_not_waited_for():
    assert fo.incremental_update(TREE, TREE, jnp.array(2.0))["w"].tolist() == [1.0, 1.0]
    assert jax.jit(lambda x: fo.smooth_labels(X, x))(2.0).shape == X.shape


RULES = [
    (lambda: fo.muon(0.1, consistent_rms=-1.0), r"consistent_rms must be in \[0, inf\), got -1.0"),
    (lambda: fo.adafactor(0.1, min_dim_size_to_factor=-1), "min_dim_size_to_factor must be at lea"),
    (lambda: fo.optimistic_adam(-1.0, 1.0), r"optimistic_adam: learning_rate must be in \[0, inf"),
]


@pytest.mark.parametrize(("make", "text"), RULES)
def test_numbers_of_rules(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_probability_that_does_not_fall_stays():
    """Its rate rounds to 1 in float32, which once made the schedule its least value."""
    for decay in (0.0, 1e-12):
        schedule = fo.precond_update_prob_schedule(decay=decay)
        assert float(schedule(1000)) == 1.0
