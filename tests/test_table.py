"""The table of factories is complete."""

import inspect

import functional_optim as fo

from .rules import RULES

WITHOUT_NAMES = {"chain", "named_chain"}
"""Factories whose arguments have no names: `rules.CHAINS` has their variants."""


def factories():
    """Names of what the package exports that makes transformations."""
    for name in fo.__all__:
        value = getattr(fo, name)
        if inspect.isfunction(value):
            made = inspect.signature(value, eval_str=True).return_annotation
            if made is fo.GradientTransformation:
                yield value.__name__  # of one that stands here twice, its own


def test_every_factory_is_in_the_table():
    assert set(factories()) - WITHOUT_NAMES == {entry.factory.__name__ for entry in RULES}


def test_every_factory_with_a_range_has_an_argument_out_of_it():
    for entry in RULES:
        rule = getattr(entry.factory, "rule", None)
        bounded = set(rule.bounds) if rule is not None else set()
        assert bounded <= {name for arguments, *_ in entry.bad for name in arguments}
