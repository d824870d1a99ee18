"""Updates of one vector for each dtype equal those of the separate arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_close, assert_same, dtypes_of, mixed

PARAMS = problem.arrays()
GRADS = problem.arrays(seed=1)


@pytest.mark.parametrize("make", [lambda: fo.adamw(1e-2), lambda: fo.sgd(0.1, momentum=0.9)])
def test_updates_are_those_of_the_arrays(make):
    found, expected = (
        problem.train(tx, PARAMS, stacked())[0] for tx in (fo.flatten(make()), make())
    )
    assert_close(found, expected, rtol=1e-6, atol=1e-7)


def stacked():
    return jax.tree.map(lambda g: jnp.stack([g, -2 * g, 3 * g]), GRADS)


def test_each_dtype_has_its_vector_and_none_is_widened():
    params = mixed(["bfloat16", "float32", "complex64"])
    tx = fo.flatten(fo.sgd(0.1, momentum=0.9))
    state = tx.init(params)
    assert {k: v.shape for k, v in state.trace.trace.items()} == dict.fromkeys(
        ("bfloat16", "complex64", "float32"), (16,)
    )
    updates, _ = tx.update(params, state, params)
    assert dtypes_of(updates) == dtypes_of(params)


def test_gradients_of_another_dtype_go_to_their_parameters_vector():
    tx = fo.flatten(fo.adam(1e-2))
    narrow = {"w": GRADS["w"].astype(jnp.bfloat16), "b": GRADS["b"]}
    wide = jax.tree.map(lambda g: g.astype(np.float32), narrow)
    assert_same(*(tx.update(g, tx.init(PARAMS), PARAMS)[0] for g in (narrow, wide)))


def test_sparse_updates_are_refused():
    tx = fo.flatten(fo.sgd(0.1, momentum=0.9))
    sparse = fo.row_sparse(GRADS["w"][:1], jnp.array([1]), (3, 4))
    with pytest.raises(ValueError, match=r"flatten: an update is sparse. Put densify\(\)"):
        tx.update({**GRADS, "w": sparse}, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize(
    "inner",
    [
        fo.adam(0.1),
        fo.chain(fo.adam(0.1), fo.params_ema(0.5)),
        fo.low_bit_state(fo.adam(0.1), min_size=256),
    ],
    ids=["adam", "average", "8 bits"],
)
def test_a_leaf_without_an_update_keeps_its_part_of_the_vectors(inner):
    params = {"a": jnp.full(512, 0.5), "b": jnp.full((2, 256), 0.5), "c": jnp.full(512, 0.5)}
    grads = jax.tree.map(lambda p: p * jnp.linspace(1.0, 2.0, p.size).reshape(p.shape), params)
    tx = fo.flatten(inner)
    _, before = tx.update(grads, tx.init(params), params)
    updates, after = jax.jit(tx.update)({**grads, "b": None}, before, params)
    assert updates["b"] is None
    assert jax.tree.structure(after) == jax.tree.structure(before)
    old, new = (fo.decode_state(s).scale_by_adam.mu["float32"] for s in (before, after))
    np.testing.assert_array_equal(new[512:1024], old[512:1024])
    assert (new[:512] != old[:512]).all()
    assert (new[1024:] != old[1024:]).all()


def test_a_vector_without_any_update_is_none():
    params = {"a": jnp.ones(2), "b": jnp.ones(2, jnp.bfloat16)}
    tx = fo.flatten(fo.per_leaf_counts(fo.adam(0.1)))
    state = tx.init(params)
    updates, after = tx.update({"a": params["a"], "b": None}, state, params)
    assert updates["b"] is None
    assert after.scale_by_adam.leaf_counts.tolist() == [0, 1]  # by the names of the dtypes
    assert_same(after.scale_by_adam.mu["bfloat16"], state.scale_by_adam.mu["bfloat16"])


def test_none_leaves_are_not_in_a_vector():
    tx, params = fo.flatten(fo.adam(1e-2)), {**PARAMS, "step": None}
    updates, state = tx.update({**GRADS, "step": None}, tx.init(params), params)
    assert updates["step"] is None
    assert state.scale_by_adam.mu["float32"].shape == (16,)
