"""A program that says `import functional_optim as optax` finds the names that it knows."""

import inspect
from types import ModuleType

import optax
import pytest

import functional_optim as fo

NAMESPACES = [
    "assignment",
    "contrib",
    "losses",
    "perturbations",
    "projections",
    "schedules",
    "transforms",
    "tree",
    "tree_utils",
]

LEFT_OUT = {
    "lookahead keeps the slow parameters in its state": {"LookaheadParams"},
    "metrics of a search are in its state": {"ZoomLinesearchInfo"},
    "not settled in optax itself": {"experimental"},
    "only annotates": {"ConditionFn", "NamedTupleKey", "ShouldSkipUpdateFunction"},
}
"""Names that optax has and this package has not."""

OWN = {"reduce_on_plateau"}
"""Names of `contrib` that are other functions there: of optax's own layout of a state."""


def public(module: ModuleType) -> set[str]:
    """Returns the names that a module shows, without those that it imports itself."""
    names = {name for name in dir(module) if not name.startswith("_")}
    return names - {"functools", "typing"}


def test_every_name_of_optax_is_here_or_left_out_on_purpose():
    missing = public(optax) - set(fo.__all__)
    for namespace in NAMESPACES:
        if hasattr(optax, namespace):
            there = public(getattr(optax, namespace))
            missing |= there - set(dir(getattr(fo, namespace)))
    assert missing == set().union(*LEFT_OUT.values())


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_names_of_a_namespace_are_the_objects_of_the_root(namespace):
    module = getattr(fo, namespace)
    assert module.__all__, namespace
    for name in module.__all__:
        if namespace not in ("tree", "tree_utils") and hasattr(fo, name) and name not in OWN:
            assert getattr(module, name) is getattr(fo, name), name


@pytest.mark.parametrize("namespace", ["assignment", "losses", "perturbations"])
def test_a_namespace_has_all_names_of_that_of_optax(namespace):
    assert public(getattr(optax, namespace)) <= set(getattr(fo, namespace).__all__)


@pytest.mark.parametrize("namespace", ["losses", "projections", "schedules", "transforms"])
def test_a_namespace_has_the_names_of_the_root_that_it_has_in_optax(namespace):
    there = public(getattr(optax, namespace)) & set(fo.__all__)
    assert there <= set(getattr(fo, namespace).__all__)


def test_older_names_of_the_tree_are_those_of_the_tree():
    assert set(fo.tree_utils.__all__) == {f"tree_{name}" for name in fo.tree.__all__}
    for name in fo.tree.__all__:
        assert getattr(fo.tree_utils, f"tree_{name}") is getattr(fo.tree, name)


def test_losses_are_at_the_root_if_they_are_in_optax():
    flat = {name for name in fo.losses.__all__ if hasattr(optax, name)}
    assert {name for name in flat if getattr(fo, name, None) is getattr(fo.losses, name)} == flat


@pytest.mark.parametrize(
    "name",
    ["OptState", "Params", "Updates", "Schedule", "ScalarOrSchedule", "GradientTransformation"],
)
def test_names_of_types_can_be_annotations(name):
    assert inspect.get_annotations(make_annotated(getattr(fo, name)))["x"] is getattr(fo, name)


def make_annotated(kind):
    def annotated(x: kind) -> kind | None:
        return x

    return annotated


def test_a_pair_is_one_with_extra_arguments():
    assert isinstance(fo.adam(1e-3), fo.GradientTransformationExtraArgs)
