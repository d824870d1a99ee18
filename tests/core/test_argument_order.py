"""Calls of `init` and `update` with arguments that are missing, too many or in another order."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

from ..rules import cases, cases_with_extra, plain

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
KEEP_NO_STATE = ("identity", "set_to_zero", "stateless", "densify", "freeze")


def with_state():
    """Yields the plain variant of each factory that keeps a state."""
    for case in plain([*cases(), *cases_with_extra()]):
        if not case.name.startswith(KEEP_NO_STATE):
            yield pytest.param(case, id=case.name)


each_with_state = pytest.mark.parametrize("case", list(with_state()))


@each_with_state
def test_a_wrong_order_is_said(case):
    tx, params = case.make(), PARAMS
    state = tx.init(params)
    text = r"^[\w()]+: the arguments of update are in the wrong order: {} is a state, and state is "
    text += r"of type dict\. Call update\(updates, state, params\)\."
    for arguments, what in (
        ((state, params, params), "updates"),
        ((params, params, state), "params"),
        ((state, params), "updates"),
    ):
        with pytest.raises(ValueError, match=text.format(what)):
            tx.update(*arguments)


@each_with_state
def test_parameters_in_place_of_the_state(case):
    tx = case.make()
    with pytest.raises((TypeError, ValueError), match=r"Call update\(updates, state, params"):
        tx.update(PARAMS, PARAMS)


@each_with_state
def test_arguments_that_are_missing_or_too_many(case):
    tx = case.make()
    with pytest.raises(TypeError, match=r"^update\(\) missing 1 required .* argument: 'state'"):
        tx.update(PARAMS)
    with pytest.raises(TypeError, match=r"^init\(\) missing 1 required .* argument: 'params'"):
        tx.init()
    with pytest.raises(TypeError, match=r"^init\(\) takes 2 positional arguments but 3 were"):
        tx.init(PARAMS, PARAMS)


def test_the_state_of_another_transformation_may_be_the_parameters():
    """Meta-learning trains numbers in a state."""
    params = fo.State(rate=jnp.ones(()), decay=jnp.ones(()))
    for tx in (fo.adamw(0.1), fo.masked(fo.adam(0.1), True), fo.MultiSteps(fo.adam(0.1), 2)):
        updates, _ = tx.update(params, tx.init(params), params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)
