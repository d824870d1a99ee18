"""A damaged state_dict is refused by name, whatever part is damaged, and nothing is loaded."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim

CLASSES = [
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "Lion", "Muon",
    "NAdam", "RAdam", "RMSprop", "Rprop", "SGD",
]  # fmt: skip
OPTIONS = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.9}}


class Thing:
    """Something that no state_dict holds."""


NO_NUMBERS = ["text", {"a": 1}, Thing(), ["text"], [[1], [1, 2]], np.array("text"), b"1"]
NO_DICTS = [None, "text", 3, True, [], [None], np.ones(2), Thing()]


def make(name):
    params = {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 2))}
    return getattr(optim, name)(params, **OPTIONS.get(name, {}))


@pytest.fixture(scope="module")
def saved():
    """Maps each class to its state_dict after a step."""

    def after_a_step(name):
        optimizer = make(name)
        optimizer.minimize(lambda p: sum(jnp.sum((x - 2) ** 2) for x in jax.tree.leaves(p)))
        return optimizer.state_dict()

    return {name: after_a_step(name) for name in CLASSES}


def refuse(optimizer, state_dict, where):
    """Expects an error that names the function, and that nothing is loaded."""
    name, before = type(optimizer).__name__, optimizer.state_dict()
    try:
        optimizer.load_state_dict(state_dict)
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        message = "it was loaded"
    assert message.startswith(f"{name}.load_state_dict: "), (where, message)
    np.testing.assert_equal(optimizer.state_dict(), before, str(where))


def changed(state_dict, path, value):
    """Returns a copy with another value at a path."""
    copied = copy.deepcopy(state_dict)
    at = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copied


FORMS = {
    ("state",): [None, "text", 3, [], [None], np.ones(2), Thing()],
    ("state", 0): NO_DICTS,
    ("param_groups",): [None, "text", 3, True, {}, {"a": 1}, [], np.ones(2), Thing()],
    ("param_groups", 0): NO_DICTS,
    ("param_groups", 0, "params"): [None, "01", 3, {0: 1}, [0, 0], [0], [0, None], [0, 0.5], [[0]]],
    ("param_groups", 0, "param_names"): ["ab", 3, ["a"], ["a", None], ["a", "a"], [["a"], "b"]],
    ("param_groups", 0, "_count"): ["text", float("nan"), -1, 0.5, 2**40, [], np.ones(2), 1j],
}


# The form is read by code that all classes share. LBFGS has one entry for all parameters, with
# lists in it, and Adafactor has entries with different keys.
@pytest.mark.parametrize("name", ["Adafactor", "Adam", "LBFGS", "Muon", "SGD"])
def test_dicts_without_the_form_of_a_state_dict_are_refused(name, saved):
    optimizer = make(name)
    for path, values in FORMS.items():
        for value in values:
            refuse(optimizer, changed(saved[name], path, value), (path, value))
    for key in ("state", "param_groups"):
        refuse(optimizer, {k: v for k, v in saved[name].items() if k != key}, key)
    refuse(optimizer, changed(saved[name], ("state", 7), {}), "an entry of no parameter")
    refuse(optimizer, changed(saved[name], ("state", 0), {1: np.ones(2)}), "a key that is no text")


@pytest.mark.parametrize("name", CLASSES)
def test_entries_that_are_not_numbers_are_refused(name, saved):
    optimizer = make(name)
    for key, entry in saved[name]["state"][0].items():
        wrong = [*NO_NUMBERS, np.ones(7), 1j, np.array(["text", None], object)]
        if key in ("step", "n_iter", "func_evals"):
            wrong += [float("nan"), -4, 0.5, 2**40]
        if isinstance(entry, list):
            wrong += [3.0, [*entry[:-1], "text"], [Thing(), *entry[1:]]]
        for value in wrong:
            refuse(optimizer, changed(saved[name], ("state", 0, key), value), (key, value))
