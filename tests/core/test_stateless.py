import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

PARAMS = {"w": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}


def toward_zero(updates, params):
    return {name: -params[name] for name in updates}


@pytest.mark.parametrize(
    "tx",
    [fo.stateless(toward_zero), fo.stateless_with_tree_map(lambda u, p: -p)],
    ids=["trees", "arrays"],
)
def test_the_function_gets_updates_and_parameters(tx):
    chained = fo.chain(fo.clip(1.0), tx)
    updates, _ = chained.update(PARAMS, chained.init(PARAMS), PARAMS, value=1.0)
    for name, p in PARAMS.items():
        np.testing.assert_array_equal(updates[name], -p)


def test_without_parameters_the_function_gets_none():
    seen = []
    tx = fo.stateless_with_tree_map(lambda u, p: seen.append(p) or u)
    tx.update(PARAMS, tx.init(PARAMS))
    assert seen == [None, None]


def test_missing_updates_are_left_out_with_their_parameters():
    tx = fo.stateless_with_tree_map(lambda u, p: u + p)
    updates, _ = tx.update({"w": None, "b": jnp.ones(1)}, tx.init(PARAMS), PARAMS)
    assert updates["w"] is None
    np.testing.assert_array_equal(updates["b"], [4.0])


def test_errors_name_the_leaf_that_does_not_fit():
    tx = fo.stateless_with_tree_map(lambda u, p: u)
    with pytest.raises(ValueError, match="stateless_with_tree_map: params has no leaf at 'b'"):
        tx.update(PARAMS, tx.init(PARAMS), {"w": jnp.ones(2)})


@pytest.mark.parametrize("make", [fo.stateless, fo.stateless_with_tree_map])
def test_an_argument_that_is_not_a_function_is_refused(make):
    with pytest.raises(TypeError, match=f"{make.__name__}: f must be a function .*, got 3"):
        make(3)


def test_equal_functions_make_equal_transformations():
    assert fo.stateless(toward_zero) == fo.stateless(toward_zero)
    assert fo.stateless(toward_zero) != fo.stateless(max)


def test_unknown_extra_arguments_are_dropped_and_known_ones_pass():
    def update(updates, state, params=None, *, value):
        return {"w": updates["w"] * value}, state

    tx = fo.with_extra_args_support(fo.GradientTransformation(fo.init_empty_state, update))
    found, state = tx.update({"w": 2.0}, tx.init(PARAMS), PARAMS, value=3.0, other=None)
    assert (found, state) == ({"w": 6.0}, fo.EmptyState())
