"""Names of parameters are unique, and are plain where they can be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.core.trees.structure import leaf_paths

COLLIDING = {
    "a dot in a key": ({"a": {"b": 1}, "a.b": 2}, ["a.b", r"a\.b"]),
    "two ways to cut": ({"a": {"b.c": 1}, "a.b": {"c": 2}}, [r"a.b\.c", r"a\.b.c"]),
    "a backslash": ({"a": {"b": 1}, "a.b": 2, r"a\.b": 3}, ["a.b", r"a\.b", r"a\\\.b"]),
    "a list": ({"a": [1], "a.0": 2}, ["a.0", r"a\.0"]),
    "flat names alone": ({"a.b": 1, "a.c": 2}, ["a.b", "a.c"]),
}


@pytest.mark.parametrize(("tree", "names"), COLLIDING.values(), ids=COLLIDING)
def test_dots_within_keys_are_escaped_where_two_names_would_be_equal(tree, names):
    assert leaf_paths(tree) == names


PARAMS = {"a": {"b": jnp.ones((4, 3))}, "a.b": jnp.full((4, 3), 2.0), "c": jnp.full(3, 3.0)}
GRADS = jax.tree.map(lambda p: 0.1 * p, PARAMS)
TXS = {
    "adam": fo.adam(0.1),
    "packed": fo.packed(fo.lamb(0.1)),
    "counts": fo.per_leaf_counts(fo.adam(0.1)),
    "partition": fo.partition(
        {"x": fo.adam(0.1), "y": fo.sgd(0.1, momentum=0.9)}, {"a": "x", "a.b": "y", "c": "x"}
    ),
    "low_bit_state": fo.low_bit_state(fo.adam(0.1)),
}


@pytest.mark.parametrize("tx", TXS.values(), ids=TXS)
def test_saved_states_can_be_loaded(tx):
    _, state = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    saved = fo.to_state_dict({"params": PARAMS, "state": state})
    template = {"params": jax.tree.map(jnp.zeros_like, PARAMS), "state": tx.init(PARAMS)}
    restored = fo.from_state_dict(template, saved)
    for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves([PARAMS, state]), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("tx", TXS.values(), ids=TXS)
def test_each_is_described_by_its_own_name(tx):
    described = fo.describe(tx, PARAMS)
    assert [leaf.path for leaf in described.leaves] == ["a.b", r"a\.b", "c"]
    for leaf in described.leaves:
        slots = [slot for link in leaf.links for slot in link.slots]
        assert slots
        assert {slot.array.shape for slot in slots} == {leaf.array.shape}
    assert described.nbytes == sum(x.nbytes for x in jax.tree.leaves(fo.unpacked(tx.init(PARAMS))))


def test_patterns_and_the_stateful_interface_use_these_names():
    labels = fo.path_labels({r"^a\\\.b$": "flat", r"^a\.b$": "nested"}, default="rest")(PARAMS)
    assert labels == {"a": {"b": "nested"}, "a.b": "flat", "c": "rest"}
    optimizer = optim.AdamW(PARAMS)
    optimizer.step(GRADS)
    saved = optimizer.state_dict()
    assert saved["param_groups"][0]["param_names"] == ["a.b", r"a\.b", "c"]
    other = optim.AdamW(PARAMS)
    other.load_state_dict(saved)
    optimizer.step(GRADS)
    other.step(GRADS)
    assert jax.tree.all(jax.tree.map(lambda x, y: (x != y).any(), other.params, PARAMS))
