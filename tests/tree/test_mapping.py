"""`tree.map_params`, and the paths in a state, which end with a parameter's."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

import functional_optim as fo

from ..rules import cases

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(2)}
NAMES = {"w": "of w", "b": "of b"}

LABELS = {"w": "x", "b": "y"}
BY_PATH = fo.path_labels({"w$": "x"}, default="y")
PARTS = {"x": fo.adam(0.1), "y": fo.sgd(0.1, momentum=0.9)}
RATES = {"x": 0.1, "y": 0.2}
MADE = {case.name: case.make for case in cases()} | {
    "masked by a tree": lambda: fo.masked(fo.adam(0.1), {"w": True, "b": False}),
    "masked by paths": lambda: fo.masked(fo.adam(0.1), fo.path_labels({"w": True}, default=False)),
    "partition by a tree": lambda: fo.partition(PARTS, LABELS),
    "partition by paths": lambda: fo.partition(PARTS, BY_PATH),
    "counts of a partition": lambda: fo.per_leaf_counts(fo.partition(PARTS, BY_PATH)),
    "numbers by a tree": lambda: fo.adam(fo.by_label(RATES, LABELS)),
    "numbers by paths": lambda: fo.adam(0.1, b1=fo.by_label(RATES, BY_PATH)),
    "numbers by layers": lambda: fo.adam(fo.layerwise_decay(0.1, 0.5, ["w", "b"])),
}
each_made = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


@functools.cache
def with_state_shapes(make):
    """Returns a transformation, and the shapes of its state."""
    tx = make()
    return tx, jax.eval_shape(tx.init, PARAMS)


@each_made
def test_slots_of_a_parameter_are_mapped_with_the_leaves_of_this_parameter(make):
    tx, state = with_state_shapes(make)
    mapped = fo.tree.map_params(tx, lambda _, name: name, state, NAMES)
    for (path, _), new in zip(
        jax.tree_util.tree_flatten_with_path(state)[0], jax.tree.leaves(mapped), strict=True
    ):
        # A parameter that is cut into blocks has several arrays in a slot.
        keys = [getattr(key, "key", None) for key in path[-2:]]
        name = next((key for key in keys if key in NAMES), None)
        assert (new == NAMES[name]) if name else not isinstance(new, str), path


def test_other_leaves_are_mapped_by_their_own_function():
    tx = fo.sgd(0.1, momentum=0.9)
    state = tx.init(PARAMS)
    mapped = fo.tree.map_params(tx.init, jnp.shape, state, transform_non_params=lambda _: None)
    assert fo.tree.get(mapped, "trace.trace") == {"w": (2, 3), "b": (2,)}
    assert len(jax.tree.leaves(mapped)) == 3


def test_masked_nodes_are_mapped_only_with_is_leaf():
    tx = fo.masked(fo.trace(0.9), {"w": True, "b": False})
    state = tx.init(PARAMS)
    is_masked = lambda x: isinstance(x, fo.MaskedNode)  # noqa: E731
    assert fo.tree.map_params(tx, lambda _, n: n, state, NAMES).trace["b"] == fo.MaskedNode()
    asked = fo.tree.map_params(tx, lambda _, n: n, state, NAMES, is_leaf=is_masked)
    assert asked.trace == NAMES


def test_transformations_of_optax_are_mapped_too():
    tx = optax.adam(1e-3)
    ours = fo.tree.map_params(tx, jnp.shape, tx.init(PARAMS))
    assert ours == optax.tree.map_params(tx, jnp.shape, tx.init(PARAMS))


@each_made
def test_optax_finds_the_same_leaves_in_our_states(make):
    tx, state = with_state_shapes(make)
    ours = fo.tree.map_params(tx, lambda _: "of a parameter", state)
    theirs = optax.tree_map_params(tx, lambda _: "of a parameter", state)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    kinds = [[isinstance(x, str) for x in jax.tree.leaves(tree)] for tree in (ours, theirs)]
    assert kinds[0] == kinds[1]


def test_arrays_in_fewer_bits_are_mapped_with_all_their_parts():
    tx = fo.low_bit_state(fo.adam(0.1), min_size=256)
    params = {"w": jnp.ones((4, 512)), "b": jnp.ones(2)}
    mu = fo.tree.map_params(tx, lambda _, name: name, tx.init(params), NAMES).scale_by_adam.mu
    assert (mu["w"].codes, mu["w"].scales, mu["b"]) == ("of w", "of w", "of b")


def test_stacked_slots_are_mapped_where_all_parameters_of_a_stack_have_the_same():
    tx, params = fo.packed(fo.adam(0.1)), {"a": [jnp.ones(2)] * 5, "b": jnp.ones(3)}
    state = tx.init(params)
    same = {"a": ["of a"] * 5, "b": "of b"}
    nu = fo.tree.map_params(tx, lambda _, name: name, state, same).scale_by_adam.nu
    assert (nu.stacks, nu.rest) == (("of a",), ("of b",))
    assert fo.tree.map_params(tx, jnp.shape, state).scale_by_adam.nu.stacks == ((5, 2),)
    with pytest.raises(ValueError, match=r"map_params: 'of a' and 'another' .* unpacked"):
        fo.tree.map_params(tx, lambda _, n: n, state, {**same, "a": [*same["a"][:4], "another"]})
