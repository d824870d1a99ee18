"""The table of factories is complete."""

import inspect

import functional_optim as fo

from .rules import RULES

NAMESPACES = (fo, fo.contrib, fo.second_order, fo.sharding, fo.transforms)

ELSEWHERE = {
    "chain": "its arguments have no names: rules.CHAINS",
    "named_chain": "its arguments have no names: rules.NAMED_LINKS",
    "differentially_private_aggregate": "it needs examples: transforms/test_privacy.py",
    "dpsgd": "it needs examples: transforms/test_privacy.py",
    "gauss_newton_bartlett_estimator": "it needs logits: second_order/test_second_order.py",
    "hutchinson_estimator_diag_hessian": "it needs a loss: testing/test_rules.py",
    "measure_with_ema": "it is a measure: monitor",
    "zero1": "it needs a mesh: sharding/test_zero.py",
}
"""Factories that are not in the table, and the tests that have them."""


def factories():
    """Returns the names of exported functions that make transformations."""
    values = (getattr(namespace, name) for namespace in NAMESPACES for name in namespace.__all__)
    return {value.__name__ for value in values if makes_transformations(value)}


def makes_transformations(value):
    if inspect.isclass(value):
        made = issubclass(value, fo.GradientTransformation)
        return made and value._fields != tuple(inspect.signature(value).parameters)
    if not inspect.isfunction(value):
        return False
    return inspect.signature(value, eval_str=True).return_annotation is fo.GradientTransformation


def test_every_factory_is_in_the_table():
    assert factories() - set(ELSEWHERE) == {entry.factory.__name__ for entry in RULES}


def test_every_factory_with_a_range_has_an_argument_out_of_it():
    for entry in RULES:
        spec = getattr(entry.factory, "spec", None)
        arguments = spec.arguments.values() if spec is not None else ()
        bounded = {argument.name for argument in arguments if argument.interval is not None}
        assert bounded <= {name for bad, *_ in entry.bad for name in bad}
