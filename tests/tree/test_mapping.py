"""`tree.map_params`, beside the paths in a state, which end with a parameter's."""

import jax
import jax.numpy as jnp
import optax
import pytest

import functional_optim as fo

from ..rules import cases

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(2)}
NAMES = {"w": "of w", "b": "of b"}

each_case = pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)


@each_case
def test_what_is_kept_for_a_parameter_is_mapped_with_what_belongs_to_it(case):
    tx = case.make()
    state = jax.eval_shape(tx.init, PARAMS)
    mapped = fo.tree.map_params(tx, lambda _, name: name, state, NAMES)
    for (path, _), new in zip(
        jax.tree_util.tree_flatten_with_path(state)[0], jax.tree.leaves(mapped), strict=True
    ):
        last = getattr(path[-1], "key", None)
        assert (new == NAMES[last]) if last in NAMES else not isinstance(new, str), path


def test_other_leaves_are_mapped_by_their_own_function():
    tx = fo.sgd(0.1, momentum=0.9)
    state = tx.init(PARAMS)
    mapped = fo.tree.map_params(tx.init, jnp.shape, state, transform_non_params=lambda _: None)
    assert fo.tree.get(mapped, "trace.trace") == {"w": (2, 3), "b": (2,)}
    assert len(jax.tree.leaves(mapped)) == 3


def test_where_a_mask_is_nothing_is_called_but_when_asked():
    tx = fo.masked(fo.trace(0.9), {"w": True, "b": False})
    state = tx.init(PARAMS)
    is_masked = lambda x: isinstance(x, fo.MaskedNode)  # noqa: E731
    assert fo.tree.map_params(tx, lambda _, n: n, state, NAMES).trace["b"] == fo.MaskedNode()
    asked = fo.tree.map_params(tx, lambda _, n: n, state, NAMES, is_leaf=is_masked)
    assert asked.trace == NAMES


def test_optaxs_transformations_are_mapped_as_well():
    tx = optax.adam(1e-3)
    ours = fo.tree.map_params(tx, jnp.shape, tx.init(PARAMS))
    assert ours == optax.tree.map_params(tx, jnp.shape, tx.init(PARAMS))
