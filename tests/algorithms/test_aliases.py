"""Signatures and links of the optimizers that are made of several links."""

import inspect

import jax
import pytest

import functional_optim as fo
from functional_optim.core.decorators import renamed

from .. import problem
from ..trees import assert_same

SIGNATURES = {
    fo.sgd: ["learning_rate", "momentum", "nesterov", "accumulator_dtype"],
    fo.adam: ["learning_rate", "b1", "b2", "eps", "eps_root", "mu_dtype"],
    fo.adamw: [
        "learning_rate", "b1", "b2", "eps", "eps_root", "mu_dtype", "weight_decay", "mask",
    ],
    fo.adagrad: ["learning_rate", "initial_accumulator_value", "eps"],
    fo.rprop: ["learning_rate", "eta_minus", "eta_plus", "min_step_size", "max_step_size"],
    fo.lion: ["learning_rate", "b1", "b2", "mu_dtype", "weight_decay", "mask"],
    fo.rmsprop: [
        "learning_rate", "decay", "eps", "initial_scale", "eps_in_sqrt", "centered", "momentum",
        "nesterov", "bias_correction",
    ],
    fo.radam: ["learning_rate", "b1", "b2", "eps", "eps_root", "threshold"],
    fo.yogi: ["learning_rate", "b1", "b2", "eps"],
    fo.sm3: ["learning_rate", "momentum"],
    fo.signum: ["learning_rate", "beta"],
    fo.optimistic_gradient_descent: ["learning_rate", "alpha", "beta"],
    fo.optimistic_adam_v2: [
        "learning_rate", "alpha", "beta", "b1", "b2", "eps", "eps_root", "mu_dtype",
    ],
    fo.polyak_sgd: ["max_learning_rate", "scaling", "f_min", "eps", "variant"],
    fo.muon: [
        "learning_rate", "ns_coeffs", "ns_steps", "beta", "eps", "weight_decay",
        "weight_decay_mask", "mu_dtype",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("factory", "names"), SIGNATURES.items(), ids=[f.__name__ for f in SIGNATURES]
)
def test_positional_arguments_have_the_order_of_optax(factory, names):
    parameters = inspect.signature(factory).parameters
    positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert positional[: len(names)] == names


DEFAULTS = {
    fo.sgd: {"momentum": None, "nesterov": False, "dampening": None},
    fo.adam: {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "nesterov": False},
    fo.adamw: {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 1e-4, "mask": None},
    fo.adagrad: {"initial_accumulator_value": 0.1, "eps": 1e-7, "lr_decay": 0.0},
    fo.rprop: {"eta_minus": 0.5, "eta_plus": 1.2, "min_step_size": 1e-6, "max_step_size": 50.0},
    fo.asgd: {"lambd": 1e-4, "alpha": 0.75, "t0": 1e6},
    fo.lion: {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3},
    fo.rmsprop: {"decay": 0.9, "eps": 1e-8, "momentum": None, "centered": False},
    fo.radam: {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "threshold": 5.0},
    fo.yogi: {"b1": 0.9, "b2": 0.999, "eps": 1e-3, "initial_accumulator_value": 1e-6},
    fo.muon: {"ns_steps": None, "beta": 0.95, "eps": 1e-7, "nesterov": True, "adam_b2": 0.999},
}


@pytest.mark.parametrize(
    ("factory", "defaults"), DEFAULTS.items(), ids=[f.__name__ for f in DEFAULTS]
)
def test_defaults_are_the_published_ones(factory, defaults):
    parameters = inspect.signature(factory).parameters
    assert {k: parameters[k].default for k in defaults} == defaults
    assert parameters["learning_rate"].default is inspect.Parameter.empty


@pytest.mark.parametrize(
    "factory", [f for f in SIGNATURES if f is not fo.polyak_sgd], ids=lambda f: f.__name__
)
def test_explicit_defaults_make_the_same_optimizer(factory):
    parameters = inspect.signature(factory).parameters
    given = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    assert factory(0.1, **given) == factory(0.1)


@pytest.mark.parametrize("factory", SIGNATURES, ids=lambda f: f.__name__)
def test_every_argument_has_a_type(factory):
    parameters = inspect.signature(factory).parameters.values()
    assert all(p.annotation is not p.empty for p in parameters)
    assert inspect.signature(factory).return_annotation is fo.GradientTransformation


STEP = fo.scale_by_learning_rate(0.1)


@pytest.mark.parametrize(
    ("optimizer", "links"),
    [
        (fo.sgd(0.1, momentum=0.9), [renamed(fo.trace, decay="momentum")(0.9), STEP]),
        (fo.adam(0.1, b1=0.5), [fo.scale_by_adam(b1=0.5), STEP]),
        (
            fo.adamw(0.1, weight_decay=0.2),
            [fo.scale_by_adam(), fo.add_decayed_weights(0.2), STEP],
        ),
        (fo.lion(0.1), [fo.scale_by_lion(), fo.add_decayed_weights(1e-3), STEP]),
        (
            fo.rmsprop(0.1, momentum=0.5),
            [fo.scale_by_rms(), renamed(fo.trace, decay="momentum")(0.5), STEP],
        ),
        (fo.rprop(0.1), [fo.scale_by_rprop(0.1), fo.scale(-1.0)]),
        (
            fo.signum(0.1),
            [renamed(fo.ema, decay="beta")(0.9, debias=False), fo.scale_by_sign(), STEP],
        ),
        (fo.yogi(0.1), [fo.scale_by_yogi(), STEP]),
        (
            fo.optimistic_adam_v2(0.1),
            [fo.scale_by_adam(nesterov=True), fo.scale_by_optimistic_gradient(), STEP],
        ),
    ],
    ids=lambda x: None,
)
def test_an_optimizer_is_the_chain_of_its_links(optimizer, links):
    by_hand = fo.chain(*links)
    assert optimizer == by_hand
    params = problem.arrays()
    assert_same(*(tx.update(params, tx.init(params), params) for tx in (optimizer, by_hand)))


def test_without_momentum_no_trace_is_kept():
    shapes = [x.shape for x in jax.tree.leaves(fo.sgd(0.1).init(problem.arrays()))]
    assert set(shapes) == {()}


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="momentums"):
        fo.sgd(0.1, momentums=0.9)
