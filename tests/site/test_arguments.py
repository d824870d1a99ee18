"""Each argument of a factory has an entry, or its page says where that is."""

import importlib

import pytest


@pytest.fixture
def arguments():
    return importlib.import_module("sitegen.arguments")


@pytest.fixture
def names():
    return importlib.import_module("sitegen.names").public_names()


def test_every_argument_of_a_factory_has_an_entry_or_a_place(arguments, names):
    bad = [
        f"{name.short}: {argument.name}"
        for name in names
        if arguments.is_factory(name.value)
        for argument in arguments.arguments(name)
        if not argument.text and not argument.source
    ]
    assert bad == [], "write entries below Args:, or a heading in docs/arguments.md"


def test_the_place_of_an_argument_has_it(arguments, names):
    by_name = {name.full: name for name in names}
    adamw = {a.name: a for a in arguments.arguments(by_name["functional_optim.adamw"])}
    assert adamw["mask"].text.startswith("which parameters decay")
    assert adamw["mask"].source == ""
    assert adamw["mu_dtype"].source == "functional_optim.scale_by_adam"
    assert adamw["state_dtype"].source == arguments.COMMON
    assert adamw["b1"].kind == "number in [0, 1), array or schedule"
    assert adamw["b1"].default == "0.9"


def test_an_argument_that_no_text_has_is_found(arguments, names):
    adamw = next(name for name in names if name.name == "adamw")
    assert arguments._entry([adamw], "hocus_pocus") == ("", "")


def test_common_arguments_are_arguments_of_some_factory(arguments, names):
    factories = [name for name in names if arguments.is_factory(name.value)]
    known = {argument.name for name in factories for argument in arguments.arguments(name)}
    assert arguments.common_arguments().keys() <= known
