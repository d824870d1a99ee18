"""One call reads what all links measured."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo


def floats(found):
    return {k: float(v) for k, v in found.items()}


def test_names_that_two_links_have_are_written_with_their_paths():
    tx = fo.chain(fo.clip_by_global_norm(2.0), fo.clip_by_global_norm(1.0))
    _, state = tx.update({"w": 4.0}, tx.init({"w": 0.0}))
    assert floats(fo.metrics(state)) == {
        "clip_by_global_norm.clip_factor": 0.5,
        "clip_by_global_norm.global_norm": 4.0,
        "clip_by_global_norm_1.clip_factor": 0.5,
        "clip_by_global_norm_1.global_norm": 2.0,
    }


def test_they_are_found_in_groups_and_in_states_of_others():
    inner = fo.chain(fo.zero_nans(), fo.sgd(0.1))
    tx = fo.partition({"a": inner, "b": fo.sgd(0.1)}, {"w": "a", "v": "b"})
    grads = {"w": jnp.array([jnp.nan, 1.0]), "v": jnp.ones(1)}
    _, state = tx.update(grads, tx.init(grads))
    assert floats(fo.metrics({"theirs": (state, 3)})) == {"nans": 1.0}


@pytest.mark.parametrize("tx", [fo.chain(), fo.sgd(0.1), fo.adam(1e-3)])
def test_rules_that_measure_nothing_have_none(tx):
    assert fo.metrics(tx.init({"w": 0.0})) == {}


def test_a_vmapped_state_has_one_for_each():
    tx = fo.clip_by_global_norm(1.0)
    state = jax.vmap(lambda g: tx.update(g, tx.init(g))[1])(jnp.array([[3.0], [4.0]]))
    assert fo.metrics(state)["global_norm"].tolist() == [3.0, 4.0]
