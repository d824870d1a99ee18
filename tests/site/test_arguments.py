"""Each argument of a factory has an entry, or its docstring names the one that has it."""

import importlib
import inspect
import re
import types

import pytest

from functional_optim import GradientTransformation

ONLY_A_LINK = re.compile(r"(see|as in|as for|those of) `[\w.]+`\.?")
"""An entry without a description: the argument belongs into the sentence `See ...`."""


@pytest.fixture
def arguments():
    return importlib.import_module("sitegen.arguments")


@pytest.fixture
def factories(arguments):
    names = importlib.import_module("sitegen.names").public_names()
    return {name.short: name for name in names if arguments.is_factory(name.value)}


def without_text(arguments, name):
    return [argument.name for argument in arguments.arguments(name) if not argument.text]


def test_every_argument_of_a_factory_has_an_entry(arguments, factories):
    bad = {name.short: without_text(arguments, name) for name in factories.values()}
    assert {name: missing for name, missing in bad.items() if missing} == {}, (
        "write entries below Args:, or name the docstring that has them: "
        '"See `scale_by_adam` for the others."'
    )


def test_an_entry_describes_an_argument_of_the_function(arguments, factories):
    bad = [
        f"{name.short}: {argument}: {text}"
        for name in factories.values()
        for argument, text in arguments.entries(name).items()
        if argument not in inspect.signature(name.value).parameters or ONLY_A_LINK.fullmatch(text)
    ]
    assert bad == []


def test_every_docstring_that_is_named_for_the_others_has_one_of_them(arguments, factories):
    bad = [
        f"{name.short}: {other.short}"
        for name in factories.values()
        for other in arguments.others(name)
        if other.full not in {argument.source for argument in arguments.arguments(name)}
    ]
    assert bad == []


def test_factories_make_transformations_schedules_and_optimizers(factories):
    some = {"adamw", "chain", "join_schedules", "MultiSteps", "optim.SGD", "optim.LBFGS"}
    assert some | {"optim.lr_scheduler.StepLR", "sharding.zero1"} <= factories.keys()
    assert not {"apply_updates", "losses.l2_loss", "State"} & factories.keys()


def test_the_place_of_an_argument_has_it(arguments, factories):
    adamw = {a.name: a for a in arguments.arguments(factories["adamw"])}
    assert adamw["mask"].text.startswith("parameters that decay")
    assert adamw["mask"].source == ""
    assert adamw["b1"].source == "functional_optim.scale_by_adam"
    assert adamw["b1"].text.startswith("decays of m and of v")
    assert adamw["weight_decay"].source == "functional_optim.add_decayed_weights"
    assert adamw["b1"].kind == "number in [0, 1), array or schedule"
    assert adamw["b1"].default == "0.9"


def test_a_number_that_is_a_constant_is_not_a_schedule(arguments, factories):
    plateau = {a.name: a for a in arguments.arguments(factories["contrib.reduce_on_plateau"])}
    assert plateau["factor"].source == "functional_optim.reduce_on_plateau"
    assert plateau["factor"].text.startswith("factor of the scale")
    assert plateau["factor"].kind == ""


def test_a_page_has_all_arguments_and_those_of_one_entry_together(factories):
    objects = importlib.import_module("sitegen.objects")
    items = objects._arguments(factories["adamw"])
    at = items.index("`b1 = 0.9`, `b2 = 0.999`")
    assert "Decays of m and of v" in items[at + 1]
    assert "From `scale_by_adam`. See [common arguments](/arguments.md#b1-b2-b3)." in items[at + 1]
    shown = " ".join(items[0::3])
    assert all(f"`{a}" in shown for a in inspect.signature(factories["adamw"].value).parameters)


def documented(monkeypatch, arguments, args):
    """Returns a public name of a factory whose docstring mentions beta and has these `Args`."""

    def factory(beta: float) -> GradientTransformation: ...

    monkeypatch.setattr(arguments, "doc", lambda module, name: texts[name])
    texts = {
        "factory": f"Multiplies by `beta`.\n\nArgs:\n{args}\n\nRaises:\n  ValueError: beta < 0.",
        "scale_by_muon": "Averages.\n\nArgs:\n  beta: decay of mu.",
        "scale_by_adam": "Averages.\n\nArgs:\n  b1: decay of m.",
    }
    module = types.SimpleNamespace(__name__="functional_optim", factory=factory)
    return importlib.import_module("sitegen.names").Public(module, "factory", "", "factory", ())


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        ("", ["beta"]),
        ("  gamma: see beta.", ["beta"]),
        ("  See `scale_by_adam` for the others.", ["beta"]),
        ("  As in `scale_by_muon`.", ["beta"]),
        ("  See `scale_by_adam` and\n  `scale_by_muon` for the others.", []),
        ("  See `scale_by_muon`.", []),
        ("  alpha, beta: numbers.", []),
    ],
)
def test_an_argument_is_found_by_an_entry_or_a_link_alone(monkeypatch, arguments, args, missing):
    name = documented(monkeypatch, arguments, args)
    assert without_text(arguments, name) == missing


def test_a_link_leads_to_a_page(monkeypatch, arguments):
    name = documented(monkeypatch, arguments, "  See `scale_by_nothing` for the others.")
    with pytest.raises(ValueError, match=r"functional_optim.factory refer to `scale_by_nothing`"):
        arguments.arguments(name)


def test_common_arguments_are_arguments_of_some_factory(arguments, factories):
    known = {a.name for name in factories.values() for a in arguments.arguments(name)}
    assert arguments.common_arguments().keys() <= known
