"""The signatures of optimizers derive from those of their links."""

import inspect

import jax
import pytest

import functional_optim as fo

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
}  # fmt: skip


@pytest.mark.parametrize(
    ("factory", "names"), SIGNATURES.items(), ids=[f.__name__ for f in SIGNATURES]
)
def test_the_positional_arguments_are_those_of_the_field_in_its_order(factory, names):
    parameters = inspect.signature(factory).parameters
    positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert positional[: len(names)] == names


DEFAULTS = {
    fo.sgd: {"momentum": None, "nesterov": False, "dampening": 0.0},
    fo.adam: {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "nesterov": False},
    fo.adamw: {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 1e-4, "mask": None},
    fo.adagrad: {"initial_accumulator_value": 0.1, "eps": 1e-7, "lr_decay": 0.0},
    fo.rprop: {"eta_minus": 0.5, "eta_plus": 1.2, "min_step_size": 1e-6, "max_step_size": 50.0},
    fo.asgd: {"lambd": 1e-4, "alpha": 0.75, "t0": 1e6},
    fo.lion: {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3},
    fo.rmsprop: {"decay": 0.9, "eps": 1e-8, "momentum": None, "centered": False},
}


@pytest.mark.parametrize(
    ("factory", "defaults"), DEFAULTS.items(), ids=[f.__name__ for f in DEFAULTS]
)
def test_the_defaults_are_the_published_ones(factory, defaults):
    parameters = inspect.signature(factory).parameters
    assert {k: parameters[k].default for k in defaults} == defaults
    assert parameters["learning_rate"].default is inspect.Parameter.empty


@pytest.mark.parametrize("factory", SIGNATURES, ids=lambda f: f.__name__)
def test_an_optimizer_shows_no_argument_that_it_does_not_take(factory):
    parameters = inspect.signature(factory).parameters
    given = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    assert factory(0.1, **given) == factory(0.1)


@pytest.mark.parametrize(
    ("optimizer", "links"),
    [
        (fo.sgd(0.1, momentum=0.9), [fo.trace(0.9)]),
        (fo.adam(0.1, b1=0.5), [fo.scale_by_adam(b1=0.5)]),
        (
            fo.adamw(0.1, weight_decay=0.2),
            [fo.scale_by_adam(), fo.add_decayed_weights(0.2)],
        ),
        (fo.lion(0.1), [fo.scale_by_lion(), fo.add_decayed_weights(1e-3)]),
        (fo.rmsprop(0.1, momentum=0.5), [fo.scale_by_rms(), fo.trace(0.5)]),
    ],
    ids=["sgd", "adam", "adamw", "lion", "rmsprop"],
)
def test_an_optimizer_is_its_links_and_then_the_learning_rate(optimizer, links):
    assert optimizer == fo.chain(*links, fo.scale_by_learning_rate(0.1))
    params, by_hand = problem.arrays(), fo.chain(*links, fo.scale_by_learning_rate(0.1))
    results = [tx.update(params, tx.init(params), params) for tx in (optimizer, by_hand)]
    assert_same(*results)


def test_without_momentum_no_trace_is_kept():
    shapes = [x.shape for x in jax.tree.leaves(fo.sgd(0.1).init(problem.arrays()))]
    assert set(shapes) == {()}
